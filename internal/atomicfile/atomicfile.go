// Package atomicfile replaces whole files: a reader, or whoever comes after a crash, finds
// the old file or the new one.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/oserror"
)

// Write replaces the file at path by body: a temporary file beside it, fsync, rename, fsync
// of the directory. On return it survives a power loss. The file has the permission bits
// perm, and never had more; on Windows one that is for its owner alone can be read by the user,
// SYSTEM and the administrators, whatever its directory lets others do.
//
// The temporary file's name begins with ".new-"; a crash may leave one behind.
func Write(path string, body []byte, perm fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, oserror.Reason(err))
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, errors.Join(oserror.Reason(err), remove(f.Name())))
		}
	}()
	if perm&0o077 == 0 {
		err = protect(f.Name())
	}
	if err == nil {
		_, err = f.Write(body)
	}
	if err == nil && perm != 0o600 {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err = rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// remove removes a temporary file that may have its final name already.
func remove(name string) error {
	if err := busyfile.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
