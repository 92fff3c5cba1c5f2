package s3store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/httpbinding"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/hamflx/pocket/objstore"
)

// Writing many small objects costs processor time above all, and most of that goes to
// the forty steps that the SDK takes for each request. A PutObject needs three of them: its
// URL, the signature, the answer. So where the bucket's address is known, which is wherever
// an endpoint is given, Put makes the request by itself and leaves the signature to the SDK's
// signer. Whatever is unusual is the SDK's: the addresses of AWS, and for a while every
// request after an answer that was an error.

// sdkAfter is how long the SDK makes all requests after an answer that was an error.
const sdkAfter = time.Minute

// Put implements objstore.Store, with one PutObject: S3 takes objects of up to
// 5 GiB that way, and makes them visible whole.
func (s *Store) Put(ctx context.Context, key string, body []byte) error {
	return s.put(ctx, key, body, "")
}

// PutHashed implements objstore.HashedPutter. The hash is what the signature covers: the
// service refuses other bytes.
func (s *Store) PutHashed(ctx context.Context, key string, body []byte, sum [sha256.Size]byte) error {
	return s.put(ctx, key, body, hex.EncodeToString(sum[:]))
}

func (s *Store) put(ctx context.Context, key string, body []byte, sum string) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	r, err := s.begin(ctx)
	if err != nil {
		return s.failure(ctx, nil, objstore.OpPut, key, err)
	}
	defer r.end()
	send := &sendBody{request: r, data: body}
	r.sends(len(body))
	defer send.close()
	if s.base != nil && time.Now().UnixNano() >= s.sdkUntil.Load() {
		err = s.putPlain(r, key, send, len(body), sum)
		if statusOf(err) != 0 && !s.learnTime(err) {
			s.sdkUntil.Store(time.Now().Add(sdkAfter).UnixNano())
		}
	} else {
		var out *s3.PutObjectOutput
		out, err = s.client.PutObject(r.ctx, &s3.PutObjectInput{
			Bucket: &s.bucket, Key: &key, Body: send, ContentLength: aws.Int64(int64(len(body))),
		})
		if err == nil && aws.ToString(out.ETag) == "" {
			err = errNotS3
		}
	}
	if err != nil {
		return s.failure(ctx, r, objstore.OpPut, key, err)
	}
	return nil
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

// bucketURL returns the URL of a bucket at an address with an endpoint, without a slash
// at its end.
func bucketURL(at *address, bucket string) (*url.URL, error) {
	u, err := url.Parse(at.endpoint)
	if err != nil {
		return nil, err
	}
	if at.pathStyle {
		u.Path += "/" + bucket
	} else {
		u.Host = bucket + "." + u.Host
	}
	return u, nil
}

// putPlain makes a PutObject request. The hash of the body, in hexadecimal digits, is
// computed where it is not given.
func (s *Store) putPlain(r *request, key string, send *sendBody, size int, sum string) error {
	if sum == "" {
		of := sha256.Sum256(send.data)
		sum = hex.EncodeToString(of[:])
	}
	u := *s.base
	u.Path += "/" + key
	u.RawPath = httpbinding.EscapePath(u.Path, false)
	req := (&http.Request{
		Method: http.MethodPut, URL: &u, Host: u.Host, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Content-Type":         {"application/octet-stream"},
			"User-Agent":           {"pocket"},
			"X-Amz-Content-Sha256": {sum},
		},
		Body: http.NoBody, ContentLength: int64(size),
	}).WithContext(r.ctx)
	if size > 0 {
		req.Body = io.NopCloser(send)
	}
	keys, err := s.keys.Retrieve(r.ctx)
	if err != nil {
		return err
	}
	if err := s.keys.SignHTTP(r.ctx, keys, req, sum, "s3", s.region, time.Now().Add(time.Duration(s.ahead.Load()))); err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return fmt.Errorf("the answer was cut: %w", err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		if resp.Header.Get("ETag") == "" || len(answer) > 0 && isError(answer) {
			return errNotS3
		}
		return nil
	}
	// As the SDK would say it.
	return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: resp}, Err: answerError(answer)}
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
