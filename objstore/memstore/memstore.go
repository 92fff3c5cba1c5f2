// Package memstore is an object store in memory: Pocket's storage "memory",
// and the store of tests. Nothing of it outlives the process.
package memstore

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hamflx/pocket/objstore"
)

// name is what errors call this store, and its identity.
const name = "memory"

// Store is an objstore.Store in memory. Beside the required methods it has
// those of objstore.ConditionalGetter, Stater and Identifier.
type Store struct {
	mu      sync.RWMutex // guards all below
	objects map[string]object
	written uint64 // Puts so far: an object's etag is its number
}

type object struct {
	body    []byte // never changed once stored
	etag    uint64
	modTime time.Time
}

// New returns an empty store.
func New() *Store {
	return &Store{objects: make(map[string]object)}
}

// Identity returns "memory", for every Store of this package alike.
func (s *Store) Identity() string { return name }

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	o, err := s.lookup(ctx, objstore.OpGet, key)
	if err != nil {
		return nil, err
	}
	return o.read(key, max)
}

// GetIfChanged implements objstore.ConditionalGetter.
func (s *Store) GetIfChanged(ctx context.Context, key, etag string, max int64) ([]byte, string, error) {
	o, err := s.lookup(ctx, objstore.OpGet, key)
	if err != nil {
		return nil, "", err
	}
	now := strconv.FormatUint(o.etag, 10)
	if etag == now {
		return nil, "", &objstore.Error{Op: objstore.OpGet, Key: key, Store: name, Kind: objstore.ErrNotModified}
	}
	body, err := o.read(key, max)
	if err != nil {
		return nil, "", err
	}
	return body, now, nil
}

// Stat implements objstore.Stater.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	o, err := s.lookup(ctx, objstore.OpStat, key)
	if err != nil {
		return objstore.Info{}, err
	}
	return o.info(key), nil
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, body []byte) error {
	if err := check(ctx, objstore.OpPut, key); err != nil {
		return err
	}
	o := object{body: bytes.Clone(body), modTime: time.Now()}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.written++
	o.etag = s.written
	s.objects[key] = o
	return nil
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, objstore.OpDelete, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

// List implements objstore.Store. The keys are those at the first step.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := objstore.ContextError(ctx, objstore.OpList, prefix, name); err != nil {
			yield(objstore.Info{}, err)
			return
		}
		var keys []string
		s.mu.RLock()
		for key := range s.objects {
			if key > after && strings.HasPrefix(key, prefix) {
				keys = append(keys, key)
			}
		}
		s.mu.RUnlock()
		slices.Sort(keys)

		for _, key := range keys {
			if err := objstore.ContextError(ctx, objstore.OpList, prefix, name); err != nil {
				yield(objstore.Info{}, err)
				return
			}
			s.mu.RLock()
			o, ok := s.objects[key]
			s.mu.RUnlock()
			if ok && !yield(o.info(key), nil) {
				return
			}
		}
	}
}

func (s *Store) lookup(ctx context.Context, op, key string) (object, error) {
	if err := check(ctx, op, key); err != nil {
		return object{}, err
	}
	s.mu.RLock()
	o, ok := s.objects[key]
	s.mu.RUnlock()
	if !ok {
		return object{}, &objstore.Error{Op: op, Key: key, Store: name, Kind: objstore.ErrNotExist}
	}
	return o, nil
}

func check(ctx context.Context, op, key string) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	return objstore.ContextError(ctx, op, key, name)
}

func (o object) read(key string, max int64) ([]byte, error) {
	if size := int64(len(o.body)); size > max {
		return nil, &objstore.Error{Op: objstore.OpGet, Key: key, Store: name, Kind: objstore.ErrTooLarge,
			Err: fmt.Errorf("it has %d bytes, the most accepted are %d", size, max)}
	}
	return append([]byte{}, o.body...), nil
}

func (o object) info(key string) objstore.Info {
	return objstore.Info{Key: key, Size: int64(len(o.body)), ModTime: o.modTime}
}
