package aside

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"
)

// junction is a REPARSE_DATA_BUFFER of a junction.
func junction(target string) []byte {
	units := utf16.Encode([]rune(target))
	b := make([]byte, 16+2*len(units)+4)
	binary.LittleEndian.PutUint32(b, windows.IO_REPARSE_TAG_MOUNT_POINT)
	binary.LittleEndian.PutUint16(b[4:], uint16(len(b)-8))
	binary.LittleEndian.PutUint16(b[10:], uint16(2*len(units)))
	binary.LittleEndian.PutUint16(b[12:], uint16(2*len(units)+2))
	for i, u := range units {
		binary.LittleEndian.PutUint16(b[16+2*i:], u)
	}
	return b
}

func TestParseJunction(t *testing.T) {
	const target = `\Device\Volume{6b6f0a1e-0000-0000-0000-100000000000}\`
	whole := junction(target)
	got, ok := parseJunction(whole)
	require.True(t, ok)
	require.Equal(t, target, got)
	for n := range whole {
		if got, ok := parseJunction(whole[:n]); ok {
			require.Equal(t, target, got)
		}
	}
	link := junction(target)
	binary.LittleEndian.PutUint32(link, windows.IO_REPARSE_TAG_SYMLINK)
	_, ok = parseJunction(link)
	require.False(t, ok)
}

// makeJunction makes path a junction, or says that this system has none.
func makeJunction(t *testing.T, path, target string) bool {
	t.Helper()
	require.NoError(t, os.Mkdir(path, 0o700))
	name, err := windows.UTF16PtrFromString(path)
	require.NoError(t, err)
	h, err := windows.CreateFile(name, windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	require.NoError(t, err)
	b := junction(target)
	var n uint32
	err = windows.DeviceIoControl(h, windows.FSCTL_SET_REPARSE_POINT, &b[0], uint32(len(b)), nil, 0, &n, nil)
	require.NoError(t, windows.CloseHandle(h))
	if err != nil {
		require.NoError(t, os.Remove(path))
		return false
	}
	return true
}

// After a power loss a junction is left that leads to a volume that is no more. It is
// removed; a junction that leads anywhere else is somebody's.
func TestDanglingJunction(t *testing.T) {
	m := newMachine(t)
	require.True(t, m.run("move", len(moveSteps)))
	if !makeJunction(t, m.path, `\Device\Volume{00000000-0000-0000-0000-000000000001}\`) {
		t.Skip("no junctions can be made here (Wine)")
	}
	require.Empty(t, m.restore())
	m.isBack()

	require.True(t, m.run("move", len(moveSteps)))
	require.True(t, makeJunction(t, m.path, `\??\`+t.TempDir()))
	require.Len(t, m.restore(), 1)
	m.isBack(names(t, filepath.Dir(m.path))[1:]...)
}

// Windows refuses to rename a directory with open files in it; the user is told what to do.
func TestOpenFilesInTheDirectory(t *testing.T) {
	for _, errno := range []windows.Errno{windows.ERROR_SHARING_VIOLATION, windows.ERROR_ACCESS_DENIED} {
		require.ErrorContains(t, explain(&os.LinkError{Op: "rename", Err: errno}), "close the programs")
	}
	m := newMachine(t)
	f, err := os.Open(filepath.Join(m.path, "id"))
	require.NoError(t, err)
	defer f.Close()
	d, err := Move(m.o, "keys", m.path, m.path)
	if err == nil { // Wine does it
		_, err = d.Return()
		require.NoError(t, err)
	} else {
		require.ErrorContains(t, err, "close the programs")
	}
	require.NoError(t, f.Close())
	m.isBack()
}
