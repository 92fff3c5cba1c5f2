package atomicfile

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"
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
