package aside

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func needMount(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a tmpfs")
	}
}

// mountSomething mounts a file system in memory.
func mountSomething(t *testing.T, path string) (unmount func()) {
	t.Helper()
	require.NoError(t, unix.Mount("tmpfs", path, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	return func() { require.NoError(t, unix.Unmount(path, 0)) }
}

func TestMountPointsAreNotMoved(t *testing.T) {
	needMount(t)
	m := newMachine(t)
	unmount := mountSomething(t, m.path)
	require.NoError(t, os.WriteFile(filepath.Join(m.path, "theirs"), nil, 0o600))
	_, err := Move(m.o, "keys", m.path, m.path)
	require.ErrorContains(t, err, m.path+" has files in it and cannot be moved aside: it is a disk")
	unmount()
	sub := filepath.Join(m.path, "sub")
	unmount = mountSomething(t, sub)
	_, err = Move(m.o, "keys", m.path, m.path)
	require.ErrorContains(t, err, sub+" is mounted in it")
	unmount()
	m.isBack()
}

func TestParentThatCannotBeWritten(t *testing.T) {
	m := newMachine(t)
	parent := filepath.Dir(m.path)
	if os.Geteuid() == 0 { // rights do not count
		require.NoError(t, unix.Mount(parent, parent, "", unix.MS_BIND, ""))
		require.NoError(t, unix.Mount("", parent, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		defer unix.Unmount(parent, unix.MNT_DETACH)
	} else {
		require.NoError(t, os.Chmod(parent, 0o500))
		defer os.Chmod(parent, 0o700)
	}
	_, err := Move(m.o, "keys", m.path, m.path)
	require.ErrorContains(t, err, parent)
	require.ErrorContains(t, err, "make it writable")
	m.isBack()
}

// An empty directory at the new name, which rename(2) would replace, is somebody's.
func TestRenameReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	require.NoError(t, os.Mkdir(from, 0o700))
	require.NoError(t, os.Mkdir(to, 0o700))
	for _, rename := range []func(string, string) error{renameNew, renameChecked} {
		require.ErrorIs(t, rename(from, to), unix.EEXIST)
		require.DirExists(t, from)
	}
}
