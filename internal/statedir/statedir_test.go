package statedir

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The test binary is also the other process: with childVariable set it takes a
// state directory, says so, and waits to be killed.
const childVariable = "POCKET_STATEDIR_TEST_CHILD"

func TestMain(m *testing.M) {
	what, dataDir, ok := strings.Cut(os.Getenv(childVariable), ":")
	if !ok {
		os.Exit(m.Run())
	}
	var d *Dir
	var err error
	if what == "temp" {
		d, err = OpenTemp(dataDir)
	} else {
		d, err = Open(dataDir, "one")
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(d.Path())
	io.Copy(io.Discard, os.Stdin) // ends when the parent goes
	runtime.KeepAlive(d)
	os.Exit(0)
}

// startHolder returns a process that holds a state directory, and its path.
func startHolder(t *testing.T, what, dataDir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+what+":"+dataDir)
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	path := strings.TrimSpace(line)
	require.NotContains(t, path, "error:")
	return cmd, path
}

func TestSecondProcessIsToldWhoHoldsTheDirectory(t *testing.T) {
	dataDir := t.TempDir()
	holder, path := startHolder(t, "state", dataDir)

	_, err := Open(dataDir, "one")
	require.ErrorIs(t, err, ErrLocked)
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, LockedError{Dir: path, PID: holder.Process.Pid}, *locked)
	require.NotContains(t, err.Error(), "\n")
	require.Contains(t, err.Error(), fmt.Sprint(holder.Process.Pid))
}

func TestLockEndsWithTheProcessThatIsKilled(t *testing.T) {
	dataDir := t.TempDir()
	holder, _ := startHolder(t, "state", dataDir)
	require.NoError(t, holder.Process.Kill())
	holder.Wait()

	d, err := Open(dataDir, "one")
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

func TestOneProcessTakesADirectoryOnce(t *testing.T) {
	dataDir := t.TempDir()
	d, err := Open(dataDir, "one")
	require.NoError(t, err)
	_, err = Open(dataDir, "one")
	require.ErrorIs(t, err, ErrLocked)
	other, err := Open(dataDir, "two")
	require.NoError(t, err, "another mount has a directory of its own")
	require.NoError(t, other.Close())
	require.NoError(t, d.Close())
	require.NoError(t, d.Close(), "closing twice is harmless")

	again, err := Open(dataDir, "one")
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestDirectoriesExistAndAreTheOwnersAlone(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "not", "there", "yet")
	d, err := Open(dataDir, "one")
	require.NoError(t, err)
	defer d.Close()
	for _, dir := range []string{d.Path(), d.Cache(), d.Staging(), d.Index(), filepath.Dir(d.Journal())} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.True(t, info.IsDir())
		if runtime.GOOS != "windows" {
			require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), dir)
		}
	}
}

func TestOpenRefusesWhatIsNoFileName(t *testing.T) {
	dataDir := t.TempDir()
	for _, id := range []string{"", ".", "..", "a/b", `a\b`, "c:"} {
		_, err := Open(dataDir, id)
		require.Error(t, err, "%q", id)
	}
	left, err := os.ReadDir(dataDir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestUnwritableDataDirectoryIsOneClearLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, open := range map[string]func() (*Dir, error){
		"Open":     func() (*Dir, error) { return Open(file, "one") },
		"OpenTemp": func() (*Dir, error) { return OpenTemp(file) },
	} {
		_, err := open()
		require.Error(t, err, name)
		require.Contains(t, err.Error(), file, name)
		require.Contains(t, err.Error(), dataVariable, name)
		require.NotContains(t, err.Error(), "\n", name)
	}
}

func TestReadOnlyDataDirectoryIsOneClearLine(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a directory's read-only attribute does not stop files being made in it on Windows")
	}
	if os.Getuid() == 0 {
		t.Skip("root may write to any directory")
	}
	dataDir := t.TempDir()
	require.NoError(t, os.Chmod(dataDir, 0o500))
	_, err := Open(dataDir, "one")
	require.ErrorIs(t, err, os.ErrPermission)
	require.Contains(t, err.Error(), dataVariable)
	require.NotContains(t, err.Error(), "\n")
}

// What is in a state directory of an earlier start is there, so that nothing has to be made to open it.
func TestStateDirectoryThatBecameReadOnlyIsOneClearLine(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a directory's read-only attribute does not stop files being made in it on Windows")
	}
	if os.Getuid() == 0 {
		t.Skip("root may write to any directory")
	}
	dataDir := t.TempDir()
	d, err := Open(dataDir, "one")
	require.NoError(t, err)
	require.NoError(t, d.Close())
	for _, dir := range []string{d.Path(), d.Cache(), d.Staging(), d.Index()} {
		require.NoError(t, os.Chmod(dir, 0o500))
		_, err := Open(dataDir, "one")
		require.NoError(t, os.Chmod(dir, 0o700))
		require.ErrorIs(t, err, os.ErrPermission, dir)
		require.ErrorContains(t, err, dir)
		require.ErrorContains(t, err, dataVariable)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestTemporaryStateGoesWithClose(t *testing.T) {
	dataDir := t.TempDir()
	d, err := OpenTemp(dataDir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(d.Journal(), []byte("x"), 0o600))
	require.NoError(t, d.Close())
	left, err := os.ReadDir(filepath.Join(dataDir, "temp"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestStaleTemporaryStateIsRemovedAndLiveIsNot(t *testing.T) {
	dataDir := t.TempDir()
	dead, deadPath := startHolder(t, "temp", dataDir)
	_, livePath := startHolder(t, "temp", dataDir)
	require.NoError(t, os.WriteFile(filepath.Join(deadPath, "cache", "x"), []byte("x"), 0o600))
	require.NoError(t, dead.Process.Kill())
	dead.Wait()

	d, err := OpenTemp(dataDir)
	require.NoError(t, err)
	defer d.Close()
	require.NoDirExists(t, deadPath)
	require.NoFileExists(t, deadPath+lockSuffix)
	require.DirExists(t, livePath)
	require.DirExists(t, d.Cache())
}

func TestIDTellsPartsApart(t *testing.T) {
	seen := map[string][]string{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"b", "a"}} {
		id := ID(parts...)
		require.Nil(t, seen[id], "%q", parts)
		seen[id] = parts
		require.Equal(t, id, ID(parts...))
		d, err := Open(t.TempDir(), id)
		require.NoError(t, err)
		require.NoError(t, d.Close())
	}
}

func TestDataDirFollowsTheEnvironment(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Setenv("HOME", "/home/me")
		dir, err := DataDir()
		require.NoError(t, err)
		require.Equal(t, "/home/me/Library/Application Support/hamflx/pocket", dir)
		return
	}
	base := t.TempDir()
	t.Setenv(dataVariable, base)
	dir, err := DataDir()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(base, "hamflx", "pocket"), dir)
	require.Equal(t, filepath.Join(dir, "logs", "pocket.log"), LogFile(dir))

	if runtime.GOOS != "windows" {
		t.Setenv(dataVariable, "relative")
		t.Setenv("HOME", "/home/me")
		dir, err = DataDir()
		require.NoError(t, err)
		require.Equal(t, "/home/me/.local/share/hamflx/pocket", dir)
	}
}
