//go:build unix

package control

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOthersAreKeptOut(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(Dir(dir), 0o755))
	serve(t, dir, "", &desk{})
	info, err := os.Stat(Dir(dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(Dir(dir))
	require.NoError(t, err)
	require.Len(t, entries, 2)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), e.Name())
	}
}

func TestDirectoryThatIsALinkIsRefused(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(other, Dir(dir)))
	_, err := openSocket(dir, About{})
	require.ErrorContains(t, err, "is not a directory of this user")
}

// A data directory may be deeper than the path of a socket may be long.
func TestLongDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	s := serve(t, dir, "", &desk{status: func(int) Status { return Status{PID: 5} }})
	p := only(t, dir)
	require.LessOrEqual(t, len(p.address), pathMost)
	got, err := p.Status(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, 5, got.PID)
	info, err := os.Stat(filepath.Dir(p.address))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, s.Close(t.Context()))
	require.NoDirExists(t, filepath.Dir(p.address))
}

// abandon leaves what a killed process leaves: a record and a socket that nobody listens at.
func abandon(t *testing.T, dir string) *socket {
	t.Helper()
	s, err := openSocket(dir, About{PID: 4711})
	require.NoError(t, err)
	require.NoError(t, s.save())
	l := s.Listener
	if temp, ok := l.(*tempListener); ok {
		l = temp.Listener
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	return s
}

func TestWhatAKilledProcessLeftIsRemoved(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("d", 150))} {
		abandoned := abandon(t, dir)
		address := abandoned.Addr().String()
		require.FileExists(t, abandoned.record)
		_, err := os.Lstat(address)
		require.NoError(t, err)
		serve(t, dir, "alive", &desk{})
		require.Equal(t, "alive", only(t, dir).Config)
		require.NoFileExists(t, abandoned.record)
		_, err = os.Lstat(address)
		require.ErrorIs(t, err, os.ErrNotExist)
		if filepath.Dir(address) != Dir(dir) {
			require.NoDirExists(t, filepath.Dir(address))
		}
	}
}

func TestSocketThatIsLostIsMadeAgain(t *testing.T) {
	for name, dir := range map[string]string{"beside its record": t.TempDir(), "elsewhere": filepath.Join(t.TempDir(), strings.Repeat("d", 150))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, dir, "", answering())
			lost := only(t, dir).address
			require.NoError(t, os.Remove(lost))
			if filepath.Dir(lost) != Dir(dir) {
				require.NoError(t, os.Remove(filepath.Dir(lost)))
			}
			found(t, dir)
			address := only(t, dir).address
			require.NotEqual(t, lost, address)
			recordOf(t, dir) // the other one is gone
			require.NoError(t, s.Close(t.Context()))
			require.NoFileExists(t, address)
			require.NoDirExists(t, Dir(dir))
		})
	}
}

func TestSocketWithoutRecordGoesWhenItIsOld(t *testing.T) {
	dir := t.TempDir()
	abandoned := abandon(t, dir)
	require.NoError(t, os.Remove(abandoned.record))
	address := abandoned.Addr().String()
	_, err := Find(t.Context(), dir)
	require.NoError(t, err)
	_, err = os.Lstat(address)
	require.NoError(t, err, "its record may be about to be written")
	old := time.Now().Add(-2 * strayAge)
	require.NoError(t, os.Chtimes(address, old, old))
	_, err = Find(t.Context(), dir)
	require.NoError(t, err)
	_, err = os.Lstat(address)
	require.ErrorIs(t, err, os.ErrNotExist)
}
