package objstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"strconv"
	"strings"
	"time"
)

// NormalizePrefix turns a prefix as configured into the one that keys get:
// surrounding white space and leading slashes go, and a slash follows unless
// one is there or nothing is left. "ssh", "ssh/" and " /ssh" all are "ssh/".
// (The first Pocket did exactly this, so its buckets are found.) The error is
// ErrInvalidKey when no key can begin with it.
func NormalizePrefix(prefix string) (string, error) {
	p := strings.TrimLeft(strings.TrimSpace(prefix), "/")
	if p == "" {
		return "", nil
	}
	if !strings.HasSuffix(p, "/") {
		p += "/"
	}
	if err := checkKey(strings.TrimSuffix(p, "/")); err != nil {
		return "", &Error{Key: p, Kind: ErrInvalidKey, Err: err}
	}
	return p, nil
}

// WithPrefix returns the part of s below prefix, which NormalizePrefix is
// applied to: key k of the result is key prefix+k of s. Errors name the key
// of s. With a prefix that NormalizePrefix refuses, every call fails with
// that error.
//
// It forwards ConditionalGetter, HashedGetter, HashedPutter, Stater, Identifier and Hurrier.
func WithPrefix(s Store, prefix string) Store {
	p, err := NormalizePrefix(prefix)
	if err == nil && p == "" {
		return s
	}
	return &prefixed{inner: s, prefix: p, err: err}
}

type prefixed struct {
	inner  Store
	prefix string // ends with a slash
	err    error  // why the prefix cannot be used, or nil
}

func (s *prefixed) Inner() Store { return s.inner }

// key returns the inner store's key for key, which is checked on its own: the
// prefix must not make a valid key of "" or "/x".
func (s *prefixed) key(key string) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	if err := CheckKey(key); err != nil {
		return "", err
	}
	return s.prefix + key, nil
}

func (s *prefixed) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	key, err := s.key(key)
	if err != nil {
		return nil, err
	}
	return s.inner.Get(ctx, key, max)
}

func (s *prefixed) Put(ctx context.Context, key string, body []byte) error {
	key, err := s.key(key)
	if err != nil {
		return err
	}
	return s.inner.Put(ctx, key, body)
}

func (s *prefixed) GetHashed(ctx context.Context, key string, max int64, room func(int64) []byte) (body []byte, sum [sha256.Size]byte, err error) {
	key, err = s.key(key)
	if err != nil {
		return nil, sum, err
	}
	inner, ok := s.inner.(HashedGetter)
	if !ok {
		return nil, sum, missing(OpGet, key, "get by hash")
	}
	return inner.GetHashed(ctx, key, max, room)
}

func (s *prefixed) PutHashed(ctx context.Context, key string, body []byte, sum [sha256.Size]byte) error {
	key, err := s.key(key)
	if err != nil {
		return err
	}
	inner, ok := s.inner.(HashedPutter)
	if !ok {
		return missing(OpPut, key, "put by hash")
	}
	return inner.PutHashed(ctx, key, body, sum)
}

func (s *prefixed) Hurry(patience time.Duration) {
	if inner, ok := s.inner.(Hurrier); ok {
		inner.Hurry(patience)
	}
}

func (s *prefixed) Delete(ctx context.Context, key string) error {
	key, err := s.key(key)
	if err != nil {
		return err
	}
	return s.inner.Delete(ctx, key)
}

func (s *prefixed) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if s.err != nil {
			yield(Info{}, s.err)
			return
		}
		from := after
		if from != "" {
			from = s.prefix + from
		}
		for info, err := range s.inner.List(ctx, s.prefix+prefix, from) {
			if err != nil {
				yield(Info{}, err)
				return
			}
			// The cut is a part of the same string: no copy.
			info.Key = strings.TrimPrefix(info.Key, s.prefix)
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (s *prefixed) GetIfChanged(ctx context.Context, key, etag string, max int64) ([]byte, string, error) {
	key, err := s.key(key)
	if err != nil {
		return nil, "", err
	}
	inner, ok := s.inner.(ConditionalGetter)
	if !ok {
		return nil, "", missing(OpGet, key, "conditional get")
	}
	return inner.GetIfChanged(ctx, key, etag, max)
}

func (s *prefixed) Stat(ctx context.Context, key string) (Info, error) {
	full, err := s.key(key)
	if err != nil {
		return Info{}, err
	}
	inner, ok := s.inner.(Stater)
	if !ok {
		return Info{}, missing(OpStat, full, "stat")
	}
	info, err := inner.Stat(ctx, full)
	if err != nil {
		return Info{}, err
	}
	info.Key = key
	return info, nil
}

// Identity is the inner store's with the prefix, or empty when that has none.
func (s *prefixed) Identity() string {
	inner, ok := s.inner.(Identifier)
	if !ok {
		return ""
	}
	return inner.Identity() + " prefix " + strconv.Quote(s.prefix)
}

// missing is the failure of a decorator's method that the store below lacks.
// Who found the decorator with As never sees it.
func missing(op, key, what string) error {
	return &Error{Op: op, Key: key, Store: "the store below", Kind: ErrFailed, Err: errors.New("it has no " + what)}
}
