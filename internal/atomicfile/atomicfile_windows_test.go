package atomicfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/testdisk"
)

// access returns the access list of a file as text.
func access(t *testing.T, path string) string {
	t.Helper()
	descriptor, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	require.NoError(t, err)
	return descriptor.String()
}

func TestFilesOfTheOwnerAloneHaveTheirOwnAccessList(t *testing.T) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, Write(path, []byte("x"), 0o644))
	if list := access(t, path); !strings.Contains(list, ";WD)") && !strings.Contains(list, "ID;") {
		t.Fatalf("a file for everybody has %s", list) // or what follows shows nothing
	}
	require.NoError(t, Write(path, []byte("x"), 0o600))
	list := access(t, path)
	for _, entry := range strings.Split(list, "(")[1:] {
		who := entry[strings.LastIndexByte(entry, ';')+1 : strings.IndexByte(entry, ')')]
		require.Contains(t, []string{user.User.Sid.String(), "SY", "BA"}, who, list)
	}
	require.Contains(t, list, user.User.Sid.String())
}

// A scanner, or a program that reads the file, lets nobody replace it for a moment.
func TestFileThatIsHeldForAMomentIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, Write(path, []byte("old"), 0o600))
	testdisk.HoldFor(t, 50*time.Millisecond, path, windows.FILE_SHARE_READ)
	require.NoError(t, Write(path, []byte("new"), 0o600))
	body, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(body))
}
