package busyfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/testdisk"
)

// calls are what can be done with a file: each a name and a call that leaves no file open.
func calls(path string) map[string]func() error {
	return map[string]func() error{
		"rename": func() error { return Rename(path, path+"-to") },
		"replace": func() error {
			if err := os.WriteFile(path+"-from", nil, 0o600); err != nil {
				return err
			}
			return Rename(path+"-from", path)
		},
		"remove": func() error { return Remove(path) },
		"open": func() error {
			f, err := Open(path)
			if err == nil {
				err = f.Close()
			}
			return err
		},
		"open for writing": func() error {
			f, err := OpenFile(path, os.O_RDWR, 0)
			if err == nil {
				err = f.Close()
			}
			return err
		},
		"read": func() error {
			body, err := ReadFile(path)
			if err == nil && string(body) != "body" {
				err = os.ErrInvalid
			}
			return err
		},
	}
}

func TestFileThatIsInUseForAMomentIsWaitedFor(t *testing.T) {
	for name := range calls("") {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			require.NoError(t, os.WriteFile(path, []byte("body"), 0o600))
			release := testdisk.Hold(t, path, 0)
			waits := 0
			waiting = func() {
				if waits++; waits == 3 {
					release()
				}
			}
			defer func() { waiting = func() {} }()
			require.NoError(t, calls(path)[name]())
			require.Equal(t, 3, waits, "nothing was in the way")
		})
	}
}

func TestFileThatStaysInUseIsAnErrorInTheEnd(t *testing.T) {
	patience = 20 * time.Millisecond
	defer func() { patience = Patience }()
	for name := range calls("") {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			require.NoError(t, os.WriteFile(path, []byte("body"), 0o600))
			release := testdisk.Hold(t, path, 0)
			err := calls(path)[name]()
			require.True(t, isBusy(err), "%v", err)
			require.ErrorContains(t, err, path)
			release()
			body, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, "body", string(body))
		})
	}
}

// A machine that stood still, or slept, has not given anybody the time to let the file go.
func TestStandstillIsNoWait(t *testing.T) {
	patience = 20 * time.Millisecond
	stood := false
	waiting = func() {
		if !stood {
			stood = true
			time.Sleep(2 * patience) // stands still
		}
	}
	defer func() { patience, waiting = Patience, func() {} }()
	tries := 0
	require.NoError(t, Retry(func() error {
		if tries++; tries < 3 {
			return windows.ERROR_SHARING_VIOLATION
		}
		return nil
	}))
	require.Equal(t, 3, tries)
}

func TestOtherErrorsAreReturnedAtOnce(t *testing.T) {
	waiting = func() { t.Error("waited") }
	defer func() { waiting = func() {} }()
	path := filepath.Join(t.TempDir(), "no", "f")
	for name, call := range calls(path) {
		require.ErrorIs(t, call(), fs.ErrNotExist, name)
	}
}

// Another process of Pocket that reads a file must not be what the others wait for.
func TestReaderIsNotInTheWay(t *testing.T) {
	waiting = func() { t.Error("waited") }
	defer func() { waiting = func() {} }()
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("body"), 0o600))
	f, err := Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, Rename(path, path+"-to"))
	require.NoError(t, Remove(path+"-to"))
	body := make([]byte, 4)
	_, err = f.ReadAt(body, 0)
	require.NoError(t, err)
	require.Equal(t, "body", string(body))
	dir, err := Open(filepath.Dir(path)) // as os.Open does
	require.NoError(t, err)
	require.NoError(t, dir.Close())
}
