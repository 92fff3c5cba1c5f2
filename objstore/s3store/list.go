package s3store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hamflx/pocket/objstore"
)

// maxEmptyPages is how many pages without a key a service may send in a row
// and still promise more. The protocol allows some.
const maxEmptyPages = 1000

// Services list keys in ascending order, but for some (rclone serve s3: by age). So much of a listing is read before
// any of it is passed on: one that does not ascend there is read to its end and sorted.
const (
	aheadKeys  = 10_000
	sortedKeys = 1 << 18 // at most, of a listing that has to be sorted: some 50 MB
)

// List implements objstore.Store, a thousand keys per request, ten requests ahead at the most.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := s.list(ctx, prefix, after, func(info objstore.Info) bool { return yield(info, nil) }); err != nil {
			yield(objstore.Info{}, err)
		}
	}
}

func (s *Store) list(ctx context.Context, prefix, after string, yield func(objstore.Info) bool) error {
	ascends := !s.unordered.Load() // as far as is known
	resumed := ascends && after > prefix
	var held []objstore.Info // and not yielded yet
	holding, last := true, after
	for page, err := range s.pages(ctx, prefix, after, resumed) {
		if err != nil {
			if ascends && !yieldAll(held, yield) {
				return nil
			}
			return err
		}
		for _, info := range page {
			if ascends && info.Key <= last {
				s.unordered.Store(true)
				if !holding || resumed {
					// What has passed unseen in between can no longer be told.
					return s.errorOf(objstore.OpList, prefix, objstore.ErrCorrupt,
						fmt.Errorf("the service lists %q behind %q: keys have to ascend; from now on its listings are sorted here", info.Key, last))
				}
				ascends = false
			}
			last = info.Key
		}
		held = append(held, page...)
		switch {
		case !ascends && len(held) > sortedKeys:
			return s.errorOf(objstore.OpList, prefix, objstore.ErrCorrupt,
				fmt.Errorf("the service lists keys that do not ascend, and more than the %d that can be sorted", sortedKeys))
		case !ascends, holding && len(held) < aheadKeys:
			continue
		}
		holding = false
		if !yieldAll(held, yield) {
			return nil
		}
		held = held[:0]
	}
	if !ascends {
		slices.SortFunc(held, func(a, b objstore.Info) int { return strings.Compare(a.Key, b.Key) })
		held = slices.CompactFunc(held, func(a, b objstore.Info) bool { return a.Key == b.Key })
	}
	yieldAll(held, yield)
	return nil
}

func yieldAll(infos []objstore.Info, yield func(objstore.Info) bool) bool {
	for _, info := range infos {
		if !yield(info) {
			return false
		}
	}
	return true
}

// pages iterates over the objects behind after, one request's after the other, as the service lists them. With start it is
// asked to begin there. An error ends it.
func (s *Store) pages(ctx context.Context, prefix, after string, start bool) iter.Seq2[[]objstore.Info, error] {
	return func(yield func([]objstore.Info, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.bucket, EncodingType: types.EncodingTypeUrl}
		if prefix != "" {
			in.Prefix = &prefix
		}
		// Services differ in what they make of a start outside the prefix. One
		// before it is no start; one behind it leaves nothing to list, and only
		// whether the bucket is there and may be listed is asked.
		if start {
			in.StartAfter = &after
		}
		behind := after > prefix && !strings.HasPrefix(after, prefix)
		if behind {
			in.MaxKeys = aws.Int32(1)
		}
		for empty := 0; ; {
			page, err := s.listPage(ctx, prefix, in)
			if err == nil && behind {
				return
			}
			var infos []objstore.Info
			if err == nil {
				infos, err = s.infosOf(page, prefix, after)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(infos, nil) || !aws.ToBool(page.IsTruncated) {
				return
			}
			if empty++; len(page.Contents) > 0 {
				empty = 0
			}
			next := aws.ToString(page.NextContinuationToken)
			if empty > maxEmptyPages || next == "" || next == aws.ToString(in.ContinuationToken) {
				yield(nil, s.errorOf(objstore.OpList, prefix, objstore.ErrCorrupt,
					errors.New("the service says that more keys follow, but not how to ask for them")))
				return
			}
			in.ContinuationToken, in.StartAfter = &next, nil
		}
	}
}

// infosOf returns the objects of a page that are behind after.
func (s *Store) infosOf(page *s3.ListObjectsV2Output, prefix, after string) (infos []objstore.Info, err error) {
	encoded := page.EncodingType == types.EncodingTypeUrl
	for _, object := range page.Contents {
		key := aws.ToString(object.Key)
		if encoded {
			if key, err = url.QueryUnescape(key); err != nil {
				return nil, s.errorOf(objstore.OpList, prefix, objstore.ErrCorrupt, fmt.Errorf("the listing has a key that cannot be decoded: %w", err))
			}
		}
		if key <= after || !strings.HasPrefix(key, prefix) || objstore.CheckKey(key) != nil {
			continue // the first two: a service that ignores what it does not know
		}
		size := aws.ToInt64(object.Size)
		if size < 0 {
			return nil, s.errorOf(objstore.OpList, prefix, objstore.ErrCorrupt, fmt.Errorf("the service lists %q with a size of %d", key, size))
		}
		infos = append(infos, objstore.Info{Key: key, Size: size, ModTime: aws.ToTime(object.LastModified)})
	}
	return infos, nil
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
