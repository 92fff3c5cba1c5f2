package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/creds"
	"github.com/hamflx/pocket/internal/openstore"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore"
)

// Stores opens storages, each once: the mounts of one share its connections, and those
// of a storage in memory its objects. Its methods may be called concurrently.
type Stores struct {
	profiles creds.Store

	mu     sync.Mutex
	open   map[string]objstore.Store // by the storage's name; guarded by mu
	mounts map[string][]string       // names of the mounts that show a place, by its ID; guarded by mu
}

// NewStores returns Stores that find credential profiles in a directory.
func NewStores(credentialsDir string) *Stores {
	return &Stores{profiles: creds.Open(credentialsDir), open: make(map[string]objstore.Store), mounts: make(map[string][]string)}
}

// Open returns the store of a storage. It reads no object: whether the bucket is there
// shows at the first use.
func (s *Stores) Open(ctx context.Context, storage config.Storage) (objstore.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if store, ok := s.open[storage.Name]; ok {
		return store, nil
	}
	store, err := openstore.Open(ctx, storage, s.profiles)
	if err != nil {
		return nil, fmt.Errorf("storage %s: %w", storage.Name, err)
	}
	s.open[storage.Name] = store
	return store, nil
}

// Reconnect tells the stores that their connections are dead: the machine was asleep.
func (s *Stores) Reconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, store := range s.open {
		if r, ok := objstore.As[objstore.Reconnector](store); ok {
			r.Reconnect()
		}
	}
}

// stateID names the state directory of a mount of a store's objects below a prefix. A
// second mount of the same place gets another name; the same mount gets the same again.
func (s *Stores) stateID(store objstore.Store, mount, prefix string) (string, error) {
	place, ok := objstore.As[objstore.Identifier](store)
	if !ok {
		return "", errors.New("the storage cannot be told from others: it has no identity")
	}
	prefix, err := objstore.NormalizePrefix(prefix)
	if err != nil {
		return "", err
	}
	id := statedir.ID(place.Identity(), prefix)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := slices.Index(s.mounts[id], mount)
	if n < 0 {
		n = len(s.mounts[id])
		s.mounts[id] = append(s.mounts[id], mount)
	}
	if n > 0 {
		return id + "-" + strconv.Itoa(n+1), nil
	}
	return id, nil
}
