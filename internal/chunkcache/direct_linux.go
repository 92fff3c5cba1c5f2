package chunkcache

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// directAlign is what addresses, offsets and lengths of direct writes are multiples of:
// no file system wants more than a page.
const directAlign = 4096

// writeFileDirect is writeFile for a new file, without the page cache. errNoDirect
// when the file system does not know that, errNotNow when body is not aligned for it.
func writeFileDirect(path string, body []byte) error {
	whole := len(body) - len(body)%directAlign
	if whole == 0 || uintptr(unsafe.Pointer(&body[0]))%directAlign != 0 {
		return errNotNow
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) {
		return errors.Join(errNoDirect, removeIfThere(path))
	}
	if err != nil {
		return err
	}
	_, err = f.Write(body[:whole])
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		err = errNoDirect
	}
	if err == nil && whole < len(body) {
		// The end is no whole page: the page cache writes it.
		if _, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, 0); err == nil {
			_, err = f.Write(body[whole:])
		}
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return errors.Join(err, removeIfThere(path))
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
