package busyfile

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// patience is Patience, but in tests, and waiting is called before every wait.
var (
	patience = Patience
	waiting  = func() {}
)

// Retry calls do, again for as long as another program keeps it from its file, and returns its last error.
func Retry(do func() error) error {
	const most = 100 * time.Millisecond
	wait := time.Millisecond
	// The waits are what counts, not the clock: while the machine stands still, or sleeps, nobody lets go.
	for waited := time.Duration(0); ; wait = min(2*wait, most) {
		err := do()
		if !isBusy(err) || waited >= patience {
			return err
		}
		waiting()
		pause := wait/2 + rand.N(wait) // not in step with who else waits
		time.Sleep(pause)
		waited += pause
	}
}

// isBusy reports whether an error may come from who else has the file open. "Access denied" does where the
// file is to be replaced, and where it was removed and is still open.
func isBusy(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) ||
		errors.Is(err, windows.ERROR_LOCK_VIOLATION) ||
		errors.Is(err, windows.ERROR_ACCESS_DENIED) ||
		errors.Is(err, windows.ERROR_DELETE_PENDING)
}

func open(name string) (*os.File, error) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	h, err := windows.CreateFile(path, windows.GENERIC_READ,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING,
		windows.FILE_ATTRIBUTE_NORMAL|windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}
