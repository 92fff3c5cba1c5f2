// Package dirstore is an object store in a folder: on a NAS, a USB stick, a
// synchronised folder, or for tests.
//
// The key data/ab12 is the file data/ab12 below the folder, so a bucket copied
// into a folder is a store. Characters that not every system can keep, or
// keeps apart from their neighbours (upper case, anything but ASCII), are
// escaped in file names, the same way everywhere. Files whose names the store
// would not have written are ignored.
//
// The folder itself contains two things that are no objects: .pocket-tmp,
// where files are until they are complete, and .pocket-store, by which a store
// tells the folder from the empty mount point that is left when the drive is
// gone.
//
// A call into a network file system that hangs returns when the system lets
// it, also after its context has ended.
package dirstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/objstore"
)

const (
	tempDir = ".pocket-tmp"
	marker  = ".pocket-store"

	markerText = "This folder holds the objects of Pocket. Without this file Pocket takes it for a drive that is not mounted.\n"

	// staleTemp is how old a temporary file is when nobody can be writing it
	// any more.
	staleTemp = 24 * time.Hour
)

// Store is an objstore.Store in a folder. Beside the required methods it has
// those of objstore.ConditionalGetter, Stater and Identifier.
//
// Any number of Stores, in any processes and on any machines, may use one
// folder. Objects are files with rights for their owner only.
type Store struct {
	dir    string      // absolute
	name   string      // what errors call this store
	marked atomic.Bool // the marker has been seen: its absence means the drive is gone
}

// Open returns the store in the folder at path. With create, a missing folder
// is created (its parent has to exist); without, a missing folder is
// ErrNoBucket when the store is used, so that a drive may be attached later.
func Open(path string, create bool) (*Store, error) {
	if path == "" {
		return nil, fmt.Errorf("open folder store: no path is given: %w", objstore.ErrNoBucket)
	}
	dir, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open folder store %q: %w: %v", path, objstore.ErrFailed, err)
	}
	// Windows' backslashes once, so that the path can be pasted.
	s := &Store{dir: dir, name: "folder " + strings.ReplaceAll(strconv.Quote(dir), `\\`, `\`)}
	if create {
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			err = syncDir(filepath.Dir(dir))
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, s.openError("create, in a folder that has to exist,", err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		if create {
			return nil, s.openError("open", err)
		}
		return s, nil
	}
	defer root.Close()
	s.look(root)
	if create {
		if err := s.mark(root); err != nil {
			return nil, s.openError("create", err)
		}
	}
	removeStaleTemps(root)
	return s, nil
}

func (s *Store) openError(what string, err error) error {
	kind := kindOf(err)
	if kind == objstore.ErrNotExist {
		kind = objstore.ErrNoBucket
	}
	return fmt.Errorf("%s %s: %w: %v", what, s.name, kind, err)
}

// Identity returns "dir " and the absolute path of the folder.
func (s *Store) Identity() string { return "dir " + s.dir }

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	root, p, err := s.begin(ctx, objstore.OpGet, key)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return s.read(ctx, root, key, p, max)
}

// GetIfChanged implements objstore.ConditionalGetter. The etag is the SHA-256
// of the body: a file's times and number can be the same after a change.
func (s *Store) GetIfChanged(ctx context.Context, key, etag string, max int64) ([]byte, string, error) {
	body, err := s.Get(ctx, key, max)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(body)
	now := hex.EncodeToString(sum[:])
	if now == etag {
		return nil, "", s.errorOf(objstore.OpGet, key, objstore.ErrNotModified, nil)
	}
	return body, now, nil
}

// Stat implements objstore.Stater.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	root, p, err := s.begin(ctx, objstore.OpStat, key)
	if err != nil {
		return objstore.Info{}, err
	}
	defer root.Close()
	info, err := stat(root, p)
	if err != nil {
		return objstore.Info{}, s.failure(ctx, root, objstore.OpStat, key, err)
	}
	if !info.Mode().IsRegular() {
		return objstore.Info{}, s.missing(root, objstore.OpStat, key)
	}
	return objstore.Info{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// Delete implements objstore.Store. It is durable on return, except on
// Windows, where an object may be back after a power loss. Folders that have
// become empty go too.
func (s *Store) Delete(ctx context.Context, key string) error {
	root, p, err := s.begin(ctx, objstore.OpDelete, key)
	if err != nil {
		return err
	}
	defer root.Close()
	err = busyfile.Retry(func() error {
		info, err := root.Lstat(p)
		if err != nil || info.IsDir() { // of other objects: this one does not exist
			return err
		}
		return root.Remove(p)
	})
	if err != nil {
		err = s.failure(ctx, root, objstore.OpDelete, key, err)
		if errors.Is(err, objstore.ErrNotExist) {
			return nil
		}
		return err
	}
	dir := path.Dir(p)
	for dir != "." && root.Remove(dir) == nil {
		dir = path.Dir(dir)
	}
	if err := syncUp(root, dir); err != nil {
		return s.failure(ctx, root, objstore.OpDelete, key, err)
	}
	return nil
}

// begin opens the folder for one call: a handle kept for longer would not
// notice that a drive was detached and attached again.
func (s *Store) begin(ctx context.Context, op, key string) (root *os.Root, path string, err error) {
	if err := objstore.CheckKey(key); err != nil {
		return nil, "", err
	}
	if err := objstore.ContextError(ctx, op, key, s.name); err != nil {
		return nil, "", err
	}
	if path, err = pathOf(key); err != nil {
		return nil, "", err
	}
	root, err = s.open(op, key)
	return root, path, err
}

func (s *Store) open(op, key string) (*os.Root, error) {
	root, err := os.OpenRoot(s.dir)
	if err == nil {
		return root, nil
	}
	kind := kindOf(err)
	if kind == objstore.ErrNotExist {
		return nil, s.errorOf(op, key, objstore.ErrNoBucket, errors.New("is its drive attached, is the path right?"))
	}
	return nil, s.errorOf(op, key, kind, err)
}

// open opens the file or folder at p for reading. On Windows one that is being removed
// is denied until nobody has it open any more.
func open(root *os.Root, p string) (f *os.File, err error) {
	err = busyfile.Retry(func() error {
		f, err = root.OpenFile(p, os.O_RDONLY|openFlags, 0)
		return err
	})
	return f, err
}

// stat is root.Stat, as open is root.Open.
func stat(root *os.Root, p string) (info fs.FileInfo, err error) {
	err = busyfile.Retry(func() error {
		info, err = root.Stat(p)
		return err
	})
	return info, err
}

// read returns the bytes of the file at p.
func (s *Store) read(ctx context.Context, root *os.Root, key, p string, max int64) ([]byte, error) {
	f, err := open(root, p)
	if err != nil {
		return nil, s.failure(ctx, root, objstore.OpGet, key, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, s.failure(ctx, root, objstore.OpGet, key, err)
	}
	if !info.Mode().IsRegular() {
		return nil, s.missing(root, objstore.OpGet, key)
	}
	size := info.Size()
	if size > max {
		return nil, s.errorOf(objstore.OpGet, key, objstore.ErrTooLarge, fmt.Errorf("it has %d bytes, the most accepted are %d", size, max))
	}
	const piece = 8 << 20 // read between two looks at the context
	body := make([]byte, 0, min(size, piece))
	for int64(len(body)) < size {
		if len(body) == cap(body) { // memory follows what was read, not what the file is said to have
			more := make([]byte, len(body), min(size, 2*int64(len(body))))
			copy(more, body)
			body = more
		}
		done := len(body)
		n, err := io.ReadFull(f, body[done:min(cap(body), done+piece)])
		done += n
		body = body[:done]
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, s.errorOf(objstore.OpGet, key, objstore.ErrUnavailable, fmt.Errorf("the file became shorter while it was read, at %d of %d bytes", done, size))
		}
		if err != nil {
			return nil, s.failure(ctx, root, objstore.OpGet, key, err)
		}
		if err := objstore.ContextError(ctx, objstore.OpGet, key, s.name); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// failure tells what an error of the system means for the caller.
func (s *Store) failure(ctx context.Context, root *os.Root, op, key string, err error) error {
	if err := objstore.ContextError(ctx, op, key, s.name); err != nil {
		return err
	}
	kind := kindOf(err)
	if kind == objstore.ErrNotExist {
		return s.missing(root, op, key)
	}
	return s.errorOf(op, key, kind, err)
}

// missing is the answer when there is no object: that of a folder that is
// there. A drive that went away has said nothing about its objects.
func (s *Store) missing(root *os.Root, op, key string) error {
	if err := s.present(root, op, key); err != nil {
		return err
	}
	return s.errorOf(op, key, objstore.ErrNotExist, nil)
}

// present returns an error when root is not, or no longer, the folder that
// this store has been used with.
func (s *Store) present(root *os.Root, op, key string) error {
	marked := s.marked.Load() // first: a Put beside this may make the marker after it was looked for
	_, err := os.Lstat(s.dir)
	if err == nil {
		err = s.look(root)
		if err == nil || !marked && kindOf(err) == objstore.ErrNotExist {
			return nil
		}
	}
	if kind := kindOf(err); kind != objstore.ErrNotExist {
		return s.errorOf(op, key, kind, err)
	}
	return s.errorOf(op, key, objstore.ErrNoBucket, fmt.Errorf("%s is gone from the folder: is the drive still attached?", marker))
}

// look finds out whether root has the marker.
func (s *Store) look(root *os.Root) error {
	_, err := root.Lstat(marker)
	if err == nil {
		s.marked.Store(true)
	}
	return err
}

// mark makes root a folder that present recognises.
func (s *Store) mark(root *os.Root) error {
	if s.marked.Load() {
		return nil
	}
	f, err := root.OpenFile(marker, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.WriteString(markerText)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	s.marked.Store(true)
	return nil
}

func (s *Store) errorOf(op, key string, kind, err error) error {
	return &objstore.Error{Op: op, Key: key, Store: s.name, Kind: kind, Err: err}
}
