package testdisk

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// Hold opens a file or directory as another program does, which lets others do with it what
// share says: 0 is nothing, else windows.FILE_SHARE_READ and so on. It is open until close is
// called or the test ends.
func Hold(t testing.TB, path string, share uint32) (close func()) {
	t.Helper()
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ, share, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		t.Fatalf("hold %s: %v", path, err)
	}
	close = sync.OnceFunc(func() {
		if err := windows.CloseHandle(h); err != nil {
			t.Errorf("let %s go: %v", path, err)
		}
	})
	t.Cleanup(close)
	return close
}

// HoldFor is Hold for that long, as a virus scanner does.
func HoldFor(t testing.TB, long time.Duration, path string, share uint32) {
	t.Helper()
	time.AfterFunc(long, Hold(t, path, share))
}
