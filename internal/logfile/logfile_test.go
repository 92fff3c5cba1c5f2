package logfile

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func openLog(t *testing.T, path string, o Options) *Log {
	t.Helper()
	l, err := Open(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func TestLinesAreAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "logs", "pocket.log")
	l := openLog(t, path, Options{})
	require.Equal(t, path, l.Path())
	l.Info("mounted", "path", "/home/me/my files")
	l.Debug("not at this level")
	require.NoError(t, l.Close())

	l = openLog(t, path, Options{Level: slog.LevelDebug})
	l.Debug("again")
	text := read(t, path)
	require.Regexp(t, `(?m)^time=\S+ level=INFO msg=mounted path="/home/me/my files"$`, text)
	require.Regexp(t, `(?m)^time=\S+ level=DEBUG msg=again$`, text)
	require.Equal(t, 2, strings.Count(text, "\n"))
	require.NoError(t, l.Err())
}

func TestLogIsForItsOwnerAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "logs", "pocket.log")
	openLog(t, path, Options{})
	perm := func(path string) fs.FileMode {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Mode().Perm()
	}
	require.Equal(t, fs.FileMode(0o700), perm(dir))
	require.Equal(t, fs.FileMode(0o700), perm(filepath.Dir(path)))
	require.Equal(t, fs.FileMode(0o600), perm(path))

	require.NoError(t, os.Chmod(path, 0o644))
	openLog(t, path, Options{})
	require.Equal(t, fs.FileMode(0o600), perm(path), "a log that others could read is closed")
}

// lines returns the messages of a log file.
func lines(t *testing.T, path string) (msgs []string) {
	for line := range strings.Lines(read(t, path)) {
		require.True(t, strings.HasSuffix(line, "\n"), "whole lines only")
		_, msg, _ := strings.Cut(strings.TrimSpace(line), "msg=")
		msgs = append(msgs, msg)
	}
	return msgs
}

func TestRotationKeepsTheNewestFilesAndEveryLineInThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pocket.log")
	l := openLog(t, path, Options{MaxSize: 300, Keep: 3})
	for i := range 50 {
		l.Info(fmt.Sprintf("line-%02d", i))
	}
	require.NoError(t, l.Err())
	var all []string
	for _, p := range []string{path + ".3", path + ".2", path + ".1", path} {
		info, err := os.Stat(p)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(300))
		all = append(all, lines(t, p)...)
	}
	require.NoFileExists(t, path+".4")
	for i, msg := range all {
		require.Equal(t, fmt.Sprintf("line-%02d", 50-len(all)+i), msg, "no line is lost between files")
	}
	require.Greater(t, len(all), 10)
}

func TestLineLargerThanAFileIsWrittenWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pocket.log")
	l := openLog(t, path, Options{MaxSize: 100, Keep: 2})
	long := strings.Repeat("x", 500)
	l.Info(long)
	l.Info("after")
	require.Equal(t, []string{long}, lines(t, path+".1"))
	require.Equal(t, []string{"after"}, lines(t, path))
}

func TestLogThatCannotBeOpenedIsAWarning(t *testing.T) {
	dir := t.TempDir()
	blocker := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(blocker, nil, 0o600))
	for _, path := range []string{filepath.Join(blocker, "logs", "pocket.log"), dir} {
		l, err := Open(path, Options{})
		require.Error(t, err)
		require.Contains(t, err.Error(), "log "+path+" cannot be written: ")
		require.NotContains(t, err.Error(), "\n")
		l.Error("goes nowhere")
		require.NoError(t, l.Close())
	}
}

func TestRotationThatFailsGoesOnInTheSameFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pocket.log")
	// A directory with something in it, in the place of the oldest file, cannot be removed.
	require.NoError(t, os.MkdirAll(filepath.Join(path+".1", "x"), 0o700))
	l := openLog(t, path, Options{MaxSize: 400, Keep: 1})
	for i := range 50 {
		l.Info(fmt.Sprintf("line-%02d", i))
	}
	require.Error(t, l.Err())
	require.Len(t, lines(t, path), 50)

	require.NoError(t, os.Remove(filepath.Join(path+".1", "x")))
	require.NoError(t, os.Remove(path+".1"))
	l.Info(strings.Repeat("x", 400))
	require.NoError(t, l.Err())
	require.Len(t, lines(t, path+".1"), 50)
}

func TestTwoWritersOfOneLogLoseNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows renames no file that another process has open: the file grows instead")
	}
	path := filepath.Join(t.TempDir(), "pocket.log")
	a := openLog(t, path, Options{MaxSize: 1000, Keep: 1000})
	b := openLog(t, path, Options{MaxSize: 1000, Keep: 1000})
	for i := range 200 {
		a.Info(fmt.Sprintf("a-%03d", i))
		b.Info(fmt.Sprintf("b-%03d", i))
	}
	require.NoError(t, a.Err())
	require.NoError(t, b.Err())
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	seen := map[string]int{}
	for _, f := range files {
		for _, msg := range lines(t, f) {
			seen[msg]++
		}
	}
	require.Len(t, seen, 400)
	require.Greater(t, len(files), 10)
}

func TestConcurrentLinesStayWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pocket.log")
	l := openLog(t, path, Options{MaxSize: 2000, Keep: 100})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			sub := l.With("worker", g)
			for i := range 25 {
				sub.Info(fmt.Sprintf("message-%d-%d", g, i))
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Err())
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	total := 0
	for _, f := range files {
		total += len(lines(t, f))
	}
	require.Equal(t, 200, total)
}

func TestLinesAfterCloseAreLostWithoutHarm(t *testing.T) {
	l := openLog(t, filepath.Join(t.TempDir(), "pocket.log"), Options{})
	require.NoError(t, l.Close())
	l.Info("late")
	require.ErrorIs(t, l.Err(), fs.ErrClosed)
}

func TestLevel(t *testing.T) {
	for _, tc := range []struct {
		env     string
		verbose bool
		want    slog.Level
	}{
		{"", false, slog.LevelInfo}, {"", true, slog.LevelDebug}, {"debug", false, slog.LevelDebug}, {"info", false, slog.LevelInfo},
		{"WARN", false, slog.LevelWarn}, {"error", false, slog.LevelError}, {"error", true, slog.LevelDebug},
	} {
		got, err := Level(tc.env, tc.verbose)
		require.NoError(t, err)
		require.Equal(t, tc.want, got, tc.env)
	}
	got, err := Level("loud", false)
	require.EqualError(t, err, `POCKET_LOG="loud" is not a level: set it to debug, info, warn or error`)
	require.Equal(t, slog.LevelInfo, got)
}
