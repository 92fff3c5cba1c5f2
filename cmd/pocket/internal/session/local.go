package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/fsimpl/fusehost"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore/dirstore"
)

// local is the file system of what stays on this machine: one like the mount's, whose bucket is a
// folder in the mount's state directory.
type local struct {
	dir   string
	state *statedir.Dir
	fs    *fsimpl.FS // nil until something is in it; set before the mount's first callback or in one, read after the last
}

// localCache bounds its chunk cache in bytes: the folder is as near.
const localCache = 128 << 20

// localOptions says which names stay on this machine, and where.
func (s *Session) localOptions(owner fsimpl.Owner) fusehost.Local {
	s.local.dir = filepath.Join(s.state.Path(), "local")
	o := fusehost.Local{Names: s.Mount.LocalNames, Open: func() (*fsimpl.FS, error) { return s.openLocal(owner) }}
	if o.Names == nil {
		o.Names = fusehost.DefaultLocalNames()
	}
	_, err := os.Stat(s.local.dir)
	o.Exists = err == nil
	return o
}

func (s *Session) openLocal(owner fsimpl.Owner) (fs *fsimpl.FS, err error) {
	l := &s.local
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	store, err := dirstore.Open(filepath.Join(l.dir, "store"), true)
	if err != nil {
		return nil, err
	}
	state, err := statedir.Open(l.dir, "names")
	if err != nil {
		return nil, err
	}
	fs, err = fsimpl.Open(context.Background(), fsimpl.Options{
		Name: s.Mount.Name + " (local)", Store: store, State: state, Rules: fsimpl.PlatformRules(),
		ChunkSize: min(s.Mount.ChunkSize, localCache/8), CacheSize: localCache, Poll: -1, Device: device(),
		UID: owner.UID, GID: owner.GID, RootMode: 0o700, Log: s.log,
	})
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	if err := fs.DeleteUnused(context.Background()); err != nil {
		s.log.Warn("what is not needed any more of the names that stay on this machine was not deleted", "error", err)
	}
	l.fs, l.state = fs, state
	return fs, nil
}

// closeLocal is called after the last callback. What the folder does not have yet is in the journal.
func (s *Session) closeLocal(ctx context.Context) error {
	if s.local.fs == nil {
		return nil
	}
	err := s.local.fs.Close(ctx, nil)
	if left := (*fsimpl.LeftError)(nil); errors.As(err, &left) {
		err = nil
	}
	s.local.fs = nil
	return errors.Join(err, s.local.state.Close())
}
