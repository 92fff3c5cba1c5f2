package s3store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hamflx/pocket/objstore"
)

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
	if s.plainly() {
		err = s.putPlain(r, key, send, len(body), sum)
	} else if sum != "" && sum != sumOf(body) {
		// The SDK signs what it is given.
		return s.errorOf(objstore.OpPut, key, objstore.ErrCorrupt, errors.New("its bytes have another SHA-256 than was told"))
	} else {
		var out *s3.PutObjectOutput
		out, err = s.client.PutObject(r.ctx, &s3.PutObjectInput{
			Bucket: &s.bucket, Key: &key, Body: send, ContentLength: aws.Int64(int64(len(body))),
		})
		if err == nil && aws.ToString(out.ETag) == "" {
			err = errNoETag
		}
	}
	if err != nil {
		return s.failure(ctx, r, objstore.OpPut, key, err)
	}
	return nil
}

// sumOf returns the SHA-256 of body in hexadecimal digits.
func sumOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// putPlain makes a PutObject request. The hash of the body, in hexadecimal digits, is
// computed where it is not given.
func (s *Store) putPlain(r *request, key string, send *sendBody, size int, sum string) error {
	if sum == "" {
		sum = sumOf(send.data)
	}
	req := s.plain(http.MethodPut, key, sum)
	req.Header["Content-Type"] = []string{"application/octet-stream"}
	req.ContentLength = int64(size)
	if size > 0 {
		req.Body = io.NopCloser(send)
	}
	resp, err := s.send(r, req, sum)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return fmt.Errorf("the answer was cut: %w", err)
	}
	switch {
	case len(answer) > 0 && isError(answer):
		return errNotS3
	case resp.Header.Get("ETag") == "":
		return errNoETag
	}
	return nil
}
