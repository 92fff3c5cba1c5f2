package s3store

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hamflx/pocket/objstore"
)

// maxEmptyPages is how many pages without a key a service may send in a row
// and still promise more. The protocol allows some.
const maxEmptyPages = 1000

// List implements objstore.Store, a thousand keys per request, the next one
// made when the last was consumed.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := s.list(ctx, prefix, after, func(info objstore.Info) bool { return yield(info, nil) }); err != nil {
			yield(objstore.Info{}, err)
		}
	}
}

func (s *Store) list(ctx context.Context, prefix, after string, yield func(objstore.Info) bool) error {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, EncodingType: types.EncodingTypeUrl}
	if prefix != "" {
		in.Prefix = &prefix
	}
	// Services differ in what they make of a start outside the prefix. One
	// before it is no start; one behind it leaves nothing to list, and only
	// whether the bucket is there and may be listed is asked.
	if after > prefix {
		in.StartAfter = &after
	}
	behind := after > prefix && !strings.HasPrefix(after, prefix)
	if behind {
		in.MaxKeys = aws.Int32(1)
	}
	last := after
	for empty := 0; ; {
		page, err := s.listPage(ctx, prefix, in)
		if err != nil || behind {
			return err
		}
		encoded := page.EncodingType == types.EncodingTypeUrl
		for _, object := range page.Contents {
			key := aws.ToString(object.Key)
			if encoded {
				if key, err = url.QueryUnescape(key); err != nil {
					return s.errorOf(objstore.OpList, prefix, objstore.ErrCorrupt, fmt.Errorf("the listing has a key that cannot be decoded: %w", err))
				}
			}
			if key <= after || !strings.HasPrefix(key, prefix) {
				continue // a service that ignores what it does not know
			}
			if key <= last {
				// What has passed unseen in between can no longer be told.
				return s.errorOf(objstore.OpList, prefix, objstore.ErrCorrupt, fmt.Errorf("the service lists %q behind %q: keys have to ascend", key, last))
			}
			last = key
			if objstore.CheckKey(key) != nil {
				continue
			}
			size := aws.ToInt64(object.Size)
			if size < 0 {
				return s.errorOf(objstore.OpList, prefix, objstore.ErrCorrupt, fmt.Errorf("the service lists %q with a size of %d", key, size))
			}
			if !yield(objstore.Info{Key: key, Size: size, ModTime: aws.ToTime(object.LastModified)}) {
				return nil
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		if empty++; len(page.Contents) > 0 {
			empty = 0
		}
		next := aws.ToString(page.NextContinuationToken)
		if empty > maxEmptyPages || next == "" || next == aws.ToString(in.ContinuationToken) {
			return s.errorOf(objstore.OpList, prefix, objstore.ErrCorrupt, fmt.Errorf("the service says that more keys follow %q, but not how to ask for them", last))
		}
		in.ContinuationToken, in.StartAfter = &next, nil
	}
}

func (s *Store) listPage(ctx context.Context, prefix string, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	r, err := s.begin(ctx)
	if err != nil {
		return nil, s.failure(ctx, nil, objstore.OpList, prefix, err)
	}
	defer r.end()
	page, err := s.client.ListObjectsV2(r.ctx, in)
	// The SDK makes an empty listing of any XML.
	if err == nil && page.Name == nil && page.MaxKeys == nil && page.KeyCount == nil {
		err = errNotS3
	}
	if err != nil {
		return nil, s.failure(ctx, r, objstore.OpList, prefix, err)
	}
	return page, nil
}
