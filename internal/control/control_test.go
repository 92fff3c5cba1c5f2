package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// desk is a Service that a test answers for.
type desk struct {
	status func(files int) Status
	wait   func(ctx context.Context, mount string, report func(Progress)) error
	stop   func(ctx context.Context, uploadFor time.Duration, report func(Progress)) error
}

func (d *desk) Status(files int) Status { return d.status(files) }
func (d *desk) Wait(ctx context.Context, mount string, report func(Progress)) error {
	return d.wait(ctx, mount, report)
}
func (d *desk) Stop(ctx context.Context, uploadFor time.Duration, report func(Progress)) error {
	return d.stop(ctx, uploadFor, report)
}

// serve lets this process be found below dataDir.
func serve(t *testing.T, dataDir, config string, service Service) *Server {
	t.Helper()
	s, err := Listen(dataDir, About{PID: os.Getpid(), Version: "test", Config: config}, service, slog.New(slog.NewTextHandler(t.Output(), nil)))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		s.Close(ctx)
	})
	return s
}

// only returns the one process that runs below dataDir.
func only(t *testing.T, dataDir string) *Process {
	t.Helper()
	found, err := Find(t.Context(), dataDir)
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func TestNothingRuns(t *testing.T) {
	found, err := Find(t.Context(), filepath.Join(t.TempDir(), "none"))
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestStatusArrivesAsItWasSent(t *testing.T) {
	dir := t.TempDir()
	since := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	want := Status{PID: 7, Version: "v", Config: "c", Started: since, Mounts: []Mount{{
		Name: "a", State: Mounted, Mounted: &since, Store: Store{State: Unreachable, Since: &since, Error: "away"},
		Pending: Pending{Files: 1, Bytes: 5, List: []PendingFile{{Path: "/x\x00\u202e", Bytes: 5, Since: since}}},
	}}}
	serve(t, dir, "c", &desk{status: func(files int) Status {
		require.Equal(t, 3, files)
		return want
	}})
	got, err := only(t, dir).Status(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestSeveralProcessesAreFoundAndGoOneByOne(t *testing.T) {
	dir := t.TempDir()
	one, two := serve(t, dir, "one", &desk{}), serve(t, dir, "two", &desk{})
	found, err := Find(t.Context(), dir)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"one", "two"}, []string{found[0].Config, found[1].Config})
	require.NoError(t, one.Close(t.Context()))
	require.Equal(t, "two", only(t, dir).Config)
	require.NoError(t, two.Close(t.Context()))
	require.NoDirExists(t, Dir(dir))
}

func TestWaitReportsAndEndsWithTheErrorOfTheOtherSide(t *testing.T) {
	for _, want := range []error{nil, ErrRefused, ErrNoMount, errors.New("else")} {
		dir := t.TempDir()
		serve(t, dir, "", &desk{wait: func(_ context.Context, mount string, report func(Progress)) error {
			require.Equal(t, "a b&c", mount)
			report(Progress{Files: 1, TotalFiles: 2})
			if want == nil {
				return nil
			}
			return fmt.Errorf("notes: %w", want)
		}})
		var last Progress
		err := only(t, dir).Wait(t.Context(), "a b&c", func(p Progress) { last = p })
		require.Equal(t, Progress{Files: 1, TotalFiles: 2}, last)
		if want == nil {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, "notes: "+want.Error())
		if kindOf(want) != "" {
			require.ErrorIs(t, err, want)
		}
	}
}

func TestWhoLeavesEndsTheWork(t *testing.T) {
	dir := t.TempDir()
	begun, ended := make(chan struct{}), make(chan struct{})
	serve(t, dir, "", &desk{wait: func(ctx context.Context, _ string, _ func(Progress)) error {
		close(begun)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	require.ErrorIs(t, only(t, dir).Wait(ctx, "", nil), context.Canceled)
	<-ended
}

func TestStopHandsOnHowLongToUpload(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, "", &desk{stop: func(_ context.Context, uploadFor time.Duration, _ func(Progress)) error {
		if uploadFor != 90*time.Second {
			return fmt.Errorf("%v", uploadFor)
		}
		return fmt.Errorf("stopped: %w", ErrLeft)
	}})
	p := only(t, dir)
	p.PID = 1 << 30 // no process: this one does not end
	require.ErrorIs(t, p.Stop(t.Context(), 90*time.Second, nil), ErrLeft)
}

func TestProcessThatEndsInBetweenIsToldOf(t *testing.T) {
	dir := t.TempDir()
	var s *Server
	s = serve(t, dir, "", &desk{wait: func(ctx context.Context, _ string, _ func(Progress)) error {
		go func() { s.http.Close() }()
		<-ctx.Done()
		return ctx.Err()
	}})
	p := only(t, dir)
	err := p.Wait(t.Context(), "", nil)
	require.EqualError(t, err, fmt.Sprintf("process %d has ended", p.PID))
}

func TestDamagedAndNewerRecordsAreTold(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, "good", &desk{})
	require.NoError(t, os.WriteFile(filepath.Join(Dir(dir), "damaged.json"), []byte("{"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(Dir(dir), "newer.json"), []byte(`{"protocol":99,"pid":5,"version":"v9"}`), 0o600))
	found, err := Find(t.Context(), dir)
	require.Len(t, found, 1)
	require.ErrorContains(t, err, "damaged.json is damaged: remove it")
	require.ErrorContains(t, err, "process 5 is pocket v9, which speaks another protocol")
}

// dialed connects to the one process below dir without speaking HTTP.
func dialed(t *testing.T, dir string) net.Conn {
	t.Helper()
	c, err := dial(t.Context(), only(t, dir).address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestNonsenseDoesNotHarm(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, "", &desk{
		status: func(int) Status { return Status{PID: 1} },
		stop:   func(context.Context, time.Duration, func(Progress)) error { return nil },
		wait:   func(ctx context.Context, _ string, _ func(Progress)) error { <-ctx.Done(); return ctx.Err() },
	})
	for _, say := range []string{
		"", "\x00\xff\xfe", "GET / HTTP/9.9\r\n\r\n", "GET /v2/status HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/status?files=" + strings.Repeat("9", 100) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/stop HTTP/1.1\r\nHost: x\r\n\r\n", "POST /v1/status?files=1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/stop?upload_for=-1s HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/status HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"POST /v1/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nshort",
	} {
		c := dialed(t, dir)
		io.WriteString(c, say)                                                       // the other side may hang up before it has read all
		if !strings.Contains(say, "\n") || strings.Contains(say, "Content-Length") { // more is waited for
			c.Close()
			continue
		}
		c.SetDeadline(time.Now().Add(30 * time.Second))
		answer, _ := io.ReadAll(io.LimitReader(c, 64))
		require.NotContains(t, string(answer), "200 OK", "%.80q", say)
	}
	s, err := only(t, dir).Status(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, 1, s.PID)
}

func TestTooManyConnectionsAreTurnedAwayUntilOthersEnd(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, "", answering())
	// Find connects, too, and its connection may be open for a moment.
	found, err := readRecord(recordOf(t, dir))
	require.NoError(t, err)
	p := &Process{About: found.About, address: found.Address}
	var open []net.Conn
	for deadline := time.Now().Add(2 * time.Minute); len(open) < connectionsMax; {
		require.True(t, time.Now().Before(deadline), "%d connections are answered", len(open))
		c, err := dial(t.Context(), p.address)
		require.NoError(t, err)
		// An answer shows that it was let in. One in thousands gets lost in Wine's pipes.
		require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
		if _, err = io.WriteString(c, "GET /v1/status?files=0 HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
			_, err = c.Read(make([]byte, 4096))
		}
		if err != nil {
			c.Close()
			continue
		}
		open = append(open, c)
	}
	_, err = p.Status(t.Context(), 0)
	require.Error(t, err)
	for _, c := range open {
		c.Close()
	}
	require.Eventually(t, func() bool {
		_, err := p.Status(t.Context(), 0)
		return err == nil
	}, 2*time.Minute, 10*time.Millisecond)
}
