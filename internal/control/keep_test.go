package control

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// found waits until the process below dataDir is found and answers.
func found(t *testing.T, dataDir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		found, err := Find(t.Context(), dataDir)
		if err != nil || len(found) != 1 {
			return false
		}
		_, err = found[0].Status(t.Context(), 0)
		return err == nil
	}, 2*time.Minute, 10*time.Millisecond)
}

// recordOf returns the path of the one record below dataDir.
func recordOf(t *testing.T, dataDir string) string {
	t.Helper()
	records, err := filepath.Glob(filepath.Join(Dir(dataDir), "*"+recordSuffix))
	require.NoError(t, err)
	require.Len(t, records, 1)
	return records[0]
}

// logged is a log that tests read.
type logged struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// count returns how often something was logged.
func (l *logged) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// answering is a Service that has nothing to tell.
func answering() *desk { return &desk{status: func(int) Status { return Status{} }} }

func TestProcessIsFoundOnceItCanBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(Dir(dir), nil, 0o600)) // no directory can be made there
	log := &logged{}
	s, err := Listen(dir, About{PID: os.Getpid()}, answering(), slog.New(slog.NewTextHandler(log, nil)))
	require.ErrorContains(t, err, "pocket status cannot reach this process yet: ")
	require.NoError(t, os.Remove(Dir(dir)))
	found(t, dir)
	require.Eventually(t, func() bool { return log.count("pocket status can reach this process again") == 1 }, 2*time.Minute, time.Millisecond)
	require.NoError(t, s.Close(t.Context()))
	require.NoDirExists(t, Dir(dir))
}

func TestProcessThatNeverCouldBeFoundEnds(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(Dir(dir), nil, 0o600))
	s, err := Listen(dir, About{}, answering(), slog.New(slog.DiscardHandler))
	require.Error(t, err)
	require.NoError(t, s.Close(t.Context()))
	require.NoError(t, s.Close(t.Context()))
	require.FileExists(t, Dir(dir))
}

func TestRecordThatIsLostIsWrittenAgain(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, dataDir string){
		"removed":           func(t *testing.T, dir string) { require.NoError(t, os.Remove(recordOf(t, dir))) },
		"directory removed": func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(Dir(dir))) },
		"empty":             func(t *testing.T, dir string) { require.NoError(t, os.Truncate(recordOf(t, dir), 0)) },
		"of another, damaged": func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(recordOf(t, dir), []byte("{}{"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log := &logged{}
			s, err := Listen(dir, About{PID: os.Getpid()}, answering(), slog.New(slog.NewTextHandler(log, nil)))
			require.NoError(t, err)
			lose(t, dir)
			found(t, dir)
			require.Eventually(t, func() bool { return log.count("\n") == 1 }, 2*time.Minute, time.Millisecond)
			require.NoError(t, s.Close(t.Context()))
			require.NoDirExists(t, Dir(dir))
		})
	}
}

// What a process that waits is told goes on when the socket it was asked over is gone.
func TestWorkGoesOnWhenTheDirectoryIsLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release := make(chan struct{})
	d := answering()
	d.wait = func(ctx context.Context, _ string, report func(Progress)) error {
		report(Progress{})
		<-release
		return nil
	}
	serve(t, dir, "", d)
	p := only(t, dir)
	begun, waited := make(chan struct{}), make(chan error, 1)
	go func() {
		once := sync.OnceFunc(func() { close(begun) })
		waited <- p.Wait(t.Context(), "", func(Progress) { once() })
	}()
	<-begun
	require.NoError(t, os.RemoveAll(Dir(dir)))
	found(t, dir)
	close(release)
	require.NoError(t, <-waited)
}
