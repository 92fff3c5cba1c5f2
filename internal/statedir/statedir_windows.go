package statedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

const dataVariable = "LOCALAPPDATA"

// dataBase returns %LOCALAPPDATA%, or what the system says it would be.
func dataBase() (base, variable string, err error) {
	if base := os.Getenv(dataVariable); filepath.IsAbs(base) {
		return base, dataVariable, nil
	}
	base, err = windows.KnownFolderPath(windows.FOLDERID_LocalAppData, windows.KF_FLAG_DEFAULT)
	if err != nil {
		return "", dataVariable, fmt.Errorf("no local application data folder: %w", err)
	}
	return base, dataVariable, nil
}

// lockOffset is far beyond the end of a lock file: a locked range cannot be read
// by others, and the process number at its start must be.
const lockOffset = 1 << 30

// tryLock takes the lock of f, which ends when f is closed. It reports false
// when someone else has it.
func tryLock(f *os.File) (bool, error) {
	at := windows.Overlapped{Offset: lockOffset}
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return false, nil
	}
	return false, err
}

// removeLocked gives the lock up and removes the file: Windows removes no file
// that is open. When another process opens it in between, it is left to that one.
func removeLocked(f *os.File) error {
	if err := f.Close(); err != nil {
		return err
	}
	err := os.Remove(f.Name())
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
