package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/hamflx/pocket/objstore"
)

var (
	errNotS3    = errors.New("the answer is none of an S3 service: is there a login page or a proxy in between, is the endpoint right?")
	errNoETag   = errors.New("the answer has no ETag, which an answer of S3 is told by: is there a login page or a proxy in between, is the endpoint right? A service that keeps no ETags, such as versitygw with --nometa, has to be started so that it does")
	errAppeared = errors.New("the object appeared just now")
)

func (s *Store) errorOf(op, key string, kind, err error) error {
	return &objstore.Error{Op: op, Key: key, Store: s.name, Kind: kind, Err: err}
}

// failure tells what err, met by request r for the caller's ctx, means. r is
// nil when there was no request yet.
func (s *Store) failure(ctx context.Context, r *request, op, key string, err error) error {
	if err := objstore.ContextError(ctx, op, key, s.name); err != nil {
		return err
	}
	if r != nil && r.stalled() {
		s.http.dropIdle()
		return s.errorOf(op, key, objstore.ErrUnavailable, fmt.Errorf("the connection stood still for %v: check the network", r.patience()))
	}
	if r != nil && r.asleep() {
		return s.errorOf(op, key, objstore.ErrUnavailable, errors.New("the machine was asleep, and the connection is closed"))
	}
	if errors.Is(err, errTooLarge) {
		return s.errorOf(op, key, objstore.ErrTooLarge, err)
	}
	kind, detail := s.judge(op, err)
	if kind == objstore.ErrUnavailable && statusOf(err) == 0 {
		s.http.dropIdle()
	}
	return s.errorOf(op, key, kind, detail)
}

// judge returns the kind of an error of the SDK or of reading a body, and what
// to tell of it: the SDK's own text repeats the request at length.
func (s *Store) judge(op string, err error) (kind, detail error) {
	var noKeys *credentialsError
	if errors.As(err, &noKeys) {
		return judgeCredentials(noKeys.err)
	}
	if status := statusOf(err); status >= 300 {
		return s.judgeAnswer(op, status, err)
	}
	var send *url.Error
	if errors.As(err, &send) {
		err = send.Err
		return objstore.ErrUnavailable, err
	}
	var operation *smithy.OperationError
	if !errors.As(err, &operation) {
		return objstore.ErrUnavailable, err // of a body, or errNotS3, errNoETag
	}
	var undecodable *smithy.DeserializationError
	var unsent *smithyhttp.RequestSendError
	if errors.As(err, &undecodable) || errors.As(err, &unsent) || statusOf(err) != 0 {
		return objstore.ErrUnavailable, fmt.Errorf("%w (%w)", errNotS3, operation.Err)
	}
	return objstore.ErrFailed, operation.Err // no request could be made of the configuration
}

// judgeAnswer judges an answer that is an error. The codes are S3's,
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, and
// those that other services have added.
func (s *Store) judgeAnswer(op string, status int, err error) (kind, detail error) {
	if status == http.StatusNotModified {
		return objstore.ErrNotModified, nil
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		if isCut(err) {
			return objstore.ErrUnavailable, fmt.Errorf("%d %s, and the answer that says why was cut off: check the network", status, http.StatusText(status))
		}
		return kindOfStatus(status), fmt.Errorf("%d %s: %w", status, http.StatusText(status), errNotS3)
	}
	code := api.ErrorCode()
	tell := func(hint string) error {
		text := fmt.Sprintf("%s (%d)", code, status)
		if message := api.ErrorMessage(); message != "" && message != code {
			text += ": " + strings.TrimRight(shorten(message, 300), ". ")
		}
		if hint != "" {
			text += ": " + hint
		}
		return errors.New(text)
	}
	switch code {
	case "NoSuchKey":
		return objstore.ErrNotExist, nil
	case "NoSuchBucket":
		return objstore.ErrNoBucket, tell("create the bucket, or check its name, the region and the endpoint")
	case "InvalidAccessKeyId", "InvalidAccessKeyID":
		s.keys.refused()
		return objstore.ErrPermission, tell("check the access key id of the credentials, and that they belong to this endpoint")
	case "SignatureDoesNotMatch":
		s.keys.refused()
		return objstore.ErrPermission, tell("check the secret access key of the credentials")
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidClientTokenId":
		s.keys.refused()
		return objstore.ErrPermission, tell("get new session credentials")
	case "AccessDenied":
		return objstore.ErrPermission, tell("allow the credentials " + actions[op])
	case "RequestTimeTooSkewed", "RequestExpired":
		// The SDK has learned the service's time from the answer: the next
		// attempt can succeed.
		return objstore.ErrUnavailable, tell("set the clock of this machine")
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "IncorrectEndpoint":
		hint := "check the region and the endpoint"
		if region := header(err, "X-Amz-Bucket-Region"); region != "" {
			hint = "set the region to " + shorten(region, 40)
		}
		return objstore.ErrFailed, tell(hint)
	case "SecondLevelDomainForbidden", "PathStyleDomainForbidden", "VirtualHostDomainRequired":
		return objstore.ErrFailed, tell("this service wants the bucket in the host name instead of the path")
	case "InvalidObjectState":
		return objstore.ErrFailed, tell("the object is archived: restore it, and exclude the bucket from archiving")
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "StorageCapExceeded", "ServiceQuotaExceeded":
		return objstore.ErrNoSpace, tell("")
	case "SlowDown", "RequestTimeout", "RequestTimeoutException", "Throttling", "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded", "InternalError", "ServiceUnavailable",
		"OperationAborted", "ConditionalRequestConflict", "TemporaryRedirect", "IncompleteBody",
		"BadDigest", "XAmzContentSHA256Mismatch": // damaged on the way: it was right when it was signed
		return objstore.ErrUnavailable, tell("")
	}
	switch kind = kindOfStatus(status); kind {
	case objstore.ErrPermission:
		return kind, tell("check the credentials and the bucket's policy")
	case objstore.ErrUnavailable:
		if status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
			return kind, tell(errNotS3.Error())
		}
	}
	return kind, tell("")
}

// isCut reports whether err is of an answer that did not arrive whole.
func isCut(err error) bool {
	var of net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &of)
}

// kindOfStatus judges by the HTTP status alone. A 404 or a redirect without a
// code of S3 does not come from S3: S3 was not reached.
func kindOfStatus(status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return objstore.ErrPermission
	case http.StatusInsufficientStorage:
		return objstore.ErrNoSpace
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusConflict, http.StatusProxyAuthRequired:
		return objstore.ErrUnavailable
	case http.StatusNotImplemented:
		return objstore.ErrFailed
	}
	if status >= 500 || status < 400 {
		return objstore.ErrUnavailable
	}
	return objstore.ErrFailed
}

// actions name what a policy has to allow for an operation.
var actions = map[string]string{
	objstore.OpGet:    "s3:GetObject, and s3:ListBucket (without which a missing object is refused, too)",
	objstore.OpStat:   "s3:GetObject, and s3:ListBucket (without which a missing object is refused, too)",
	objstore.OpPut:    "s3:PutObject",
	objstore.OpList:   "s3:ListBucket",
	objstore.OpDelete: "s3:DeleteObject",
}

// judgeCredentials judges a failure to get keys to sign with.
func judgeCredentials(err error) (kind, detail error) {
	if errors.Is(err, objstore.ErrUnavailable) {
		return objstore.ErrUnavailable, fmt.Errorf("get the credentials: %w", err)
	}
	// The default chain ends at the metadata service of Amazon's machines: that
	// it does not answer elsewhere means that nothing before it had any keys.
	// Other services not reached (single sign-on, STS) may be later.
	for at := err; ; {
		var operation *smithy.OperationError
		if !errors.As(at, &operation) {
			break
		}
		if operation.ServiceID == "ec2imds" {
			return objstore.ErrPermission, errors.New("no credentials found: configure them, or set them up for the AWS SDK")
		}
		var unsent *smithyhttp.RequestSendError
		if errors.As(operation.Err, &unsent) {
			return objstore.ErrUnavailable, fmt.Errorf("get the credentials: %w", err)
		}
		at = operation.Err
	}
	return objstore.ErrPermission, fmt.Errorf("get the credentials: %w", err)
}

// statusOf returns the HTTP status of the answer that err came with, or 0.
func statusOf(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		return answer.HTTPStatusCode()
	}
	return 0
}

// header returns a header of the answer that err came with.
func header(err error, name string) string {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		return answer.Response.Header.Get(name)
	}
	return ""
}

func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:most] + "..."
}
