package s3store

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/httpbinding"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Reading and writing many small objects costs processor time above all, and most of that goes
// to the forty steps that the SDK takes for each request. A GetObject and a PutObject need
// three of them: the URL, the signature, the answer. So they are made here, where the SDK would
// send them and for the region that it would sign them for, and only the signature is left to
// its signer. Whatever is unusual is the SDK's: buckets that want other signatures, and for a while
// every request after an answer that was an error.

// sdkAfter is how long the SDK makes all requests after an answer that was an error.
const sdkAfter = time.Minute

// noBody is the SHA-256 of no bytes.
const noBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// plainly reports whether requests are made without the SDK.
func (s *Store) plainly() bool {
	return s.base != nil && time.Now().UnixNano() >= s.sdkUntil.Load()
}

// learnTime takes the service's time from an answer that refuses this machine's, and
// reports whether it is one.
func (s *Store) learnTime(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "RequestTimeTooSkewed" && api.ErrorCode() != "RequestExpired" {
		return false
	}
	at, err := http.ParseTime(header(err, "Date"))
	if err == nil {
		s.ahead.Store(int64(time.Until(at)))
	}
	return err == nil
}

// destination is an HTTP client that sends nothing, and keeps where it should have gone.
type destination struct {
	url    *url.URL
	signed string // the Authorization header
}

var errNotSent = errors.New("not sent")

func (d *destination) Do(req *http.Request) (*http.Response, error) {
	d.url, d.signed = req.URL, req.Header.Get("Authorization")
	return nil, errNotSent
}

// scope matches the Authorization header of the usual signature, and has the region for which it is:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
var scope = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=[^/]+/[0-9]{8}/([a-zA-Z0-9-]+)/s3/aws4_request,`)

// findBase learns from the SDK where it sends requests about the bucket, by region, endpoint, FIPS, dual
// stack and whatever else it reads from the environment and its files, and for which region it signs them. Where that is
// not the usual signature, plain requests are not made. Nothing is sent.
func (s *Store) findBase(ctx context.Context) {
	if strings.HasSuffix(s.bucket, "--x-s3") {
		return // a directory bucket, whose keys are asked for by a request of its own
	}
	const key = "k"
	var to destination
	_, _ = s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(key)}, func(o *s3.Options) {
		o.HTTPClient = &to // fails, as it should
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, nil
		})
		o.HTTPSignerV4 = newCredentials(nil) // what is derived from these keys is not to be kept
	})
	found := scope.FindStringSubmatch(to.signed)
	if found == nil || !strings.HasSuffix(to.url.Path, "/"+key) {
		return
	}
	s.region = found[1]
	s.base = &url.URL{Scheme: to.url.Scheme, Host: to.url.Host, Path: strings.TrimSuffix(to.url.Path, "/"+key)}
}

// plain returns a request about an object, whose body has the SHA-256 sum, in hexadecimal
// digits.
func (s *Store) plain(method, key, sum string) *http.Request {
	u := *s.base
	u.Path += "/" + key
	u.RawPath = httpbinding.EscapePath(u.Path, false)
	return &http.Request{
		Method: method, URL: &u, Host: u.Host, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"User-Agent":           {"pocket"},
			"X-Amz-Content-Sha256": {sum},
		},
		Body: http.NoBody,
	}
}

// send signs a request and sends it as a part of r. The error is that of the answer, too, as
// the SDK would say it; then the answer was read.
func (s *Store) send(r *request, req *http.Request, sum string) (*http.Response, error) {
	req = req.WithContext(r.ctx)
	keys, err := s.keys.Retrieve(r.ctx)
	if err != nil {
		return nil, err
	}
	if err := s.keys.SignHTTP(r.ctx, keys, req, sum, "s3", s.region, time.Now().Add(time.Duration(s.ahead.Load()))); err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil || resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return resp, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return nil, fmt.Errorf("the answer was cut: %w", err)
	}
	failed := answerError(answer)
	err = &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: resp}, Err: failed}
	if !ordinary(resp.StatusCode, failed) && !s.learnTime(err) {
		s.sdkUntil.Store(time.Now().Add(sdkAfter).UnixNano())
	}
	return nil, err
}

// ordinary reports whether an answer that is an error says no more than that an object is not
// there, or has not changed.
func ordinary(status int, err error) bool {
	var api smithy.APIError
	return status == http.StatusNotModified ||
		status == http.StatusNotFound && errors.As(err, &api) && api.ErrorCode() == "NoSuchKey"
}

// errorAnswer is the body of an answer that is an error:
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
type errorAnswer struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
}

func isError(body []byte) bool {
	return xml.Unmarshal(body, new(errorAnswer)) == nil
}

// answerError returns the error in the body of an answer: a smithy.APIError when it is one
// of S3's, or empty.
func answerError(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return &smithy.GenericAPIError{Code: "UnknownError"}
	}
	var e errorAnswer
	if err := xml.Unmarshal(body, &e); err != nil || e.Code == "" {
		return errors.New("no error of S3")
	}
	return &smithy.GenericAPIError{Code: e.Code, Message: e.Message}
}
