package s3store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/hamflx/pocket/objstore"
)

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	body, _, err := s.get(ctx, key, "", &receiver{max: max})
	return body, err
}

// GetHashed implements objstore.HashedGetter.
func (s *Store) GetHashed(ctx context.Context, key string, max int64, room func(size int64) []byte) (body []byte, sum [sha256.Size]byte, err error) {
	to := &receiver{max: max, room: room, hash: sha256.New()}
	if body, _, err = s.get(ctx, key, "", to); err == nil {
		to.hash.Sum(sum[:0])
	}
	return body, sum, err
}

// GetIfChanged implements objstore.ConditionalGetter. An object that has not
// changed costs a request without a body.
func (s *Store) GetIfChanged(ctx context.Context, key, etag string, max int64) ([]byte, string, error) {
	return s.get(ctx, key, etag, &receiver{max: max})
}

func (s *Store) get(ctx context.Context, key, etag string, to *receiver) (body []byte, newETag string, err error) {
	if err := objstore.CheckKey(key); err != nil {
		return nil, "", err
	}
	r, err := s.begin(ctx)
	if err != nil {
		return nil, "", s.failure(ctx, nil, objstore.OpGet, key, err)
	}
	defer r.end()
	from, newETag, size, err := s.ask(r, key, etag)
	if err != nil {
		return nil, "", s.failure(ctx, r, objstore.OpGet, key, err)
	}
	defer from.Close()
	// A service that ignores the condition.
	if newETag == etag {
		return nil, "", s.errorOf(objstore.OpGet, key, objstore.ErrNotModified, nil)
	}
	if body, err = to.read(from, size); err != nil {
		return nil, "", s.failure(ctx, r, objstore.OpGet, key, err)
	}
	return body, newETag, nil
}

// errNoLength is the failure of an answer that ends where the connection does, be it whole or not.
var errNoLength = errors.New("the answer does not say how long it is")

// ask makes a GetObject request and returns its answer: the object, its ETag, and its size, or -1
// where its end is marked in the answer itself.
func (s *Store) ask(r *request, key, etag string) (body io.ReadCloser, newETag string, size int64, err error) {
	if s.plainly() {
		req := s.plain(http.MethodGet, key, noBody)
		if etag != "" {
			req.Header["If-None-Match"] = []string{etag}
		}
		resp, err := s.send(r, req, noBody)
		if err != nil {
			return nil, "", 0, err
		}
		return believe(resp.Body, resp.Header.Get("ETag"), resp.ContentLength, resp.TransferEncoding)
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	if etag != "" {
		in.IfNoneMatch = &etag
	}
	out, err := s.client.GetObject(r.ctx, in)
	if err != nil {
		return nil, "", 0, err
	}
	size = -1
	var encoding []string
	if out.ContentLength != nil {
		size = *out.ContentLength
	} else if resp, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response); ok {
		encoding = resp.TransferEncoding
	}
	return believe(out.Body, aws.ToString(out.ETag), size, encoding)
}

// believe returns an answer as ask does, unless it is none of S3's or does not say where it ends.
func believe(body io.ReadCloser, etag string, size int64, encoding []string) (io.ReadCloser, string, int64, error) {
	var err error
	switch {
	case etag == "":
		err = errNoETag
	case size < 0 && !slices.Contains(encoding, "chunked"):
		err = errNoLength
	default:
		return body, etag, size, nil
	}
	body.Close()
	return nil, "", 0, err
}

// errTooLarge is what a receiver says of a body of more than max bytes.
var errTooLarge = errors.New("too large")

// piece is how much of a body is read before it is hashed: the processor has it at hand then.
const piece = 256 << 10

// atOnce is how much memory is taken for a body before any of it arrived, whatever the service says of
// its size: a chunk and more. Beyond that it follows what arrives.
const atOnce = 8 << 20

// receiver is how a body is taken in.
type receiver struct {
	max  int64                   // bytes to accept
	room func(size int64) []byte // memory for it; nil: the collector's
	hash hash.Hash               // is told of the bytes as they arrive; may be nil
}

// read reads a body of size bytes, or of unknown size if that is negative.
func (to *receiver) read(r io.Reader, size int64) ([]byte, error) {
	if size > to.max {
		return nil, fmt.Errorf("%w: it has %d bytes, the most accepted are %d", errTooLarge, size, to.max)
	}
	if size < 0 {
		return to.readToEnd(r)
	}
	var body []byte
	if size <= atOnce && to.room != nil {
		body = to.room(size)[:0:size]
	} else {
		body = make([]byte, 0, min(size, atOnce))
	}
	for int64(len(body)) < size {
		if len(body) == cap(body) {
			// Who says that much is coming has sent no less than half of it by then.
			more := make([]byte, len(body), min(size, 2*int64(len(body))))
			copy(more, body)
			body = more
		}
		n := len(body)
		got, err := io.ReadFull(r, body[n:min(n+piece, cap(body))])
		body = body[:n+got]
		to.arrived(body[n:])
		if err != nil {
			return nil, fmt.Errorf("the body was cut after %d of %d bytes: %w", len(body), size, err)
		}
	}
	return body, nil
}

// readToEnd reads a body of unknown size.
func (to *receiver) readToEnd(r io.Reader) ([]byte, error) {
	body := make([]byte, 0, 64<<10)
	for {
		if len(body) == cap(body) {
			body = slices.Grow(body, len(body))
		}
		n, err := r.Read(body[len(body):cap(body)])
		to.arrived(body[len(body) : len(body)+n])
		body = body[:len(body)+n]
		if int64(len(body)) > to.max {
			return nil, fmt.Errorf("%w: it has more than the %d bytes accepted", errTooLarge, to.max)
		}
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the body was cut after %d bytes: %w", len(body), err)
		}
	}
}

func (to *receiver) arrived(p []byte) {
	if to.hash != nil {
		to.hash.Write(p) // never fails
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
	switch {
	case err == nil && aws.ToString(out.ETag) == "":
		err = errNoETag
	case err == nil && out.ContentLength == nil:
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
