package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/hamflx/pocket/objstore"
)

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	body, _, err := s.get(ctx, key, "", max)
	return body, err
}

// GetIfChanged implements objstore.ConditionalGetter. An object that has not
// changed costs a request without a body.
func (s *Store) GetIfChanged(ctx context.Context, key, etag string, max int64) ([]byte, string, error) {
	return s.get(ctx, key, etag, max)
}

func (s *Store) get(ctx context.Context, key, etag string, max int64) (body []byte, newETag string, err error) {
	if err := objstore.CheckKey(key); err != nil {
		return nil, "", err
	}
	r, err := s.begin(ctx)
	if err != nil {
		return nil, "", s.failure(ctx, nil, objstore.OpGet, key, err)
	}
	defer r.end()
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	if etag != "" {
		in.IfNoneMatch = &etag
	}
	out, err := s.client.GetObject(r.ctx, in)
	if err != nil {
		return nil, "", s.failure(ctx, r, objstore.OpGet, key, err)
	}
	defer out.Body.Close()
	if newETag = aws.ToString(out.ETag); newETag == "" {
		return nil, "", s.failure(ctx, r, objstore.OpGet, key, errNotS3)
	}
	// A service that ignores the condition.
	if newETag == etag {
		return nil, "", s.errorOf(objstore.OpGet, key, objstore.ErrNotModified, nil)
	}
	size := aws.ToInt64(out.ContentLength)
	if out.ContentLength == nil {
		if !chunked(out.ResultMetadata) {
			// Such a body ends where the connection does, be it whole or not.
			return nil, "", s.failure(ctx, r, objstore.OpGet, key, errors.New("the answer does not say how long it is"))
		}
		size = -1
	}
	if body, err = readBody(out.Body, size, max); err != nil {
		return nil, "", s.failure(ctx, r, objstore.OpGet, key, err)
	}
	return body, newETag, nil
}

// chunked reports whether an answer's end is marked in the answer itself.
func chunked(metadata middleware.Metadata) bool {
	resp, ok := awsmiddleware.GetRawResponse(metadata).(*smithyhttp.Response)
	return ok && slices.Contains(resp.TransferEncoding, "chunked")
}

// errTooLarge is what readBody says of a body of more than max bytes.
var errTooLarge = errors.New("too large")

// readBody reads a body of size bytes, or of unknown size if that is negative.
func readBody(r io.Reader, size, max int64) ([]byte, error) {
	if size > max {
		return nil, fmt.Errorf("%w: it has %d bytes, the most accepted are %d", errTooLarge, size, max)
	}
	if size >= 0 {
		body := make([]byte, size)
		if n, err := io.ReadFull(r, body); err != nil {
			return nil, fmt.Errorf("the body was cut after %d of %d bytes: %w", n, size, err)
		}
		return body, nil
	}
	body := make([]byte, 0, 64<<10)
	for {
		if len(body) == cap(body) {
			body = slices.Grow(body, len(body))
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if int64(len(body)) > max {
			return nil, fmt.Errorf("%w: it has more than the %d bytes accepted", errTooLarge, max)
		}
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the body was cut after %d bytes: %w", len(body), err)
		}
	}
}

// Delete implements objstore.Store. In a bucket that keeps versions the older
// ones stay, and the bucket's rules decide for how long.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	r, err := s.begin(ctx)
	if err != nil {
		return s.failure(ctx, nil, objstore.OpDelete, key, err)
	}
	defer r.end()
	_, err = s.client.DeleteObject(r.ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		err = s.failure(ctx, r, objstore.OpDelete, key, err)
		if errors.Is(err, objstore.ErrNotExist) { // some services say so
			return nil
		}
		return err
	}
	return nil
}

// Stat implements objstore.Stater.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, err
	}
	r, err := s.begin(ctx)
	if err != nil {
		return objstore.Info{}, s.failure(ctx, nil, objstore.OpStat, key, err)
	}
	defer r.end()
	out, err := s.client.HeadObject(r.ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err == nil && (aws.ToString(out.ETag) == "" || out.ContentLength == nil) {
		err = errNotS3
	}
	if err == nil {
		return objstore.Info{Key: key, Size: *out.ContentLength, ModTime: aws.ToTime(out.LastModified)}, nil
	}
	if statusOf(err) == 404 {
		// An answer to HEAD has no body to say what is missing. GET's does.
		get, getErr := s.client.GetObject(r.ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, Range: aws.String("bytes=0-0")})
		if getErr == nil {
			get.Body.Close()
			getErr = errAppeared
		}
		err = getErr
	}
	return objstore.Info{}, s.failure(ctx, r, objstore.OpStat, key, err)
}
