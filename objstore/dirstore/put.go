package dirstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path"
	"time"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/objstore"
)

// Put implements objstore.Store: a temporary file is written, synced and
// renamed to its place, and the folders above it are synced.
func (s *Store) Put(ctx context.Context, key string, body []byte) error {
	root, p, err := s.begin(ctx, objstore.OpPut, key)
	if err != nil {
		return err
	}
	defer root.Close()
	// Not onto the empty mount point of a drive that is gone.
	if err := s.present(root, objstore.OpPut, key); err != nil {
		return err
	}
	if err := s.mark(root); err != nil {
		return s.putFailure(ctx, key, err)
	}
	temp, f, err := createTemp(root)
	if err != nil {
		return s.putFailure(ctx, key, err)
	}
	defer f.Close() // only after the rename: see syncRenamed
	if err = write(ctx, f, body); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = place(ctx, root, temp, p)
	}
	if err != nil {
		f.Close()         // Windows removes no open file
		root.Remove(temp) // else it goes as a stale one
		return s.putFailure(ctx, key, err)
	}
	if err = syncRenamed(f); err == nil {
		err = syncUp(root, path.Dir(p))
	}
	if err != nil {
		return s.putFailure(ctx, key, err)
	}
	return nil
}

// putFailure is failure for Put, where a missing file is never the object.
func (s *Store) putFailure(ctx context.Context, key string, err error) error {
	if err := objstore.ContextError(ctx, objstore.OpPut, key, s.name); err != nil {
		return err
	}
	kind := kindOf(err)
	switch {
	case errors.Is(err, errKeyTaken):
		kind = objstore.ErrInvalidKey
	case errors.Is(err, errInUse):
		kind = objstore.ErrUnavailable
	case kind == objstore.ErrNotExist:
		kind = objstore.ErrUnavailable // the folder went away, or another machine removed the temporary file
	}
	return s.errorOf(objstore.OpPut, key, kind, err)
}

// createTemp creates a file below tempDir and returns its path.
func createTemp(root *os.Root) (string, *os.File, error) {
	name := tempDir + "/" + rand.Text()
	for made := false; ; made = true {
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil || made || !errors.Is(err, fs.ErrNotExist) {
			return name, f, err
		}
		if err := root.Mkdir(tempDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", nil, err
		}
	}
}

// write writes body in pieces, between which the context is looked at.
func write(ctx context.Context, f *os.File, body []byte) error {
	const piece = 8 << 20
	for len(body) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(piece, len(body))
		if _, err := f.Write(body[:n]); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// errInUse says that another program keeps a file from being replaced.
var errInUse = errors.New("another program has the file open")

// inUsePatience is how long a file that is in use is waited for, after that the caller
// decides. Tests have more: many writers of one key keep each other waiting.
var inUsePatience = 2 * time.Second

// errKeyTaken says that a folder cannot hold both of two keys.
var errKeyTaken = errors.New("a folder cannot hold an object and others below its key")

// place renames temp to p and creates the folders above p where they are
// missing. A Delete beside it may remove them again before the rename, since
// they are empty until then. Who has p open keeps it from being replaced where
// there are no POSIX renames; most are done in a moment.
func place(ctx context.Context, root *os.Root, temp, p string) error {
	const attempts = 100
	var err error
	busy := time.Now().Add(inUsePatience)
	for range attempts {
		if err = root.Rename(temp, p); err == nil {
			return nil
		}
		if info, statErr := root.Lstat(p); statErr == nil && info.IsDir() {
			if root.Remove(p) == nil {
				continue // it was empty
			}
			return fmt.Errorf("%w: %s is a folder", errKeyTaken, p)
		}
		if isInUse(err) {
			if ctx.Err() != nil || time.Now().After(busy) {
				return fmt.Errorf("%w: %w", errInUse, err)
			}
			select {
			case <-time.After(mathrand.N(inUsePatience / attempts * 2)):
			case <-ctx.Done():
			}
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) && !isNotDir(err) {
			return err
		}
		if err := makeFolders(root, path.Dir(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// makeFolders creates the folder dir and those above it.
func makeFolders(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	err := mkdir(root, dir)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		if info, err := stat(root, dir); err == nil && !info.IsDir() {
			return fmt.Errorf("%w: %s is an object", errKeyTaken, dir)
		} else if err != nil {
			return err
		}
		return nil
	case isNotDir(err):
		// One of those above is a file.
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := makeFolders(root, path.Dir(dir)); err != nil {
		return err
	}
	if err := mkdir(root, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// mkdir is root.Mkdir, as open is root.Open.
func mkdir(root *os.Root, dir string) error {
	return busyfile.Retry(func() error { return root.Mkdir(dir, 0o700) })
}

// removeStaleTemps removes what writers that died have left. Failing to is no
// one's concern: the next Open tries again.
func removeStaleTemps(root *os.Root) {
	dir, err := root.Open(tempDir)
	if err != nil {
		return
	}
	entries, _ := dir.ReadDir(-1)
	dir.Close()
	if len(entries) == 0 {
		return
	}
	// Age is told by the clock of the file system, which may be another machine's.
	probe, f, err := createTemp(root)
	if err != nil {
		return
	}
	now, err := f.Stat()
	f.Close()
	root.Remove(probe)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && now.ModTime().Sub(info.ModTime()) > staleTemp {
			root.Remove(tempDir + "/" + entry.Name())
		}
	}
}
