// Linux only: it is the other end of relay_windows_test.go, outside of Wine.

package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// standFor has nothing to do: see relay_windows_test.go.
func standFor([]string) (code int, ok bool) { return 0, false }

// relayHost carries orders out.
type relayHost struct {
	token string

	mu       sync.Mutex
	programs map[int]*exec.Cmd // by the numbers of who stands for them; guarded by mu
}

// listen takes orders until the end of the test, and returns the value of POCKET_E2E_RELAY.
func (h *relayHost) listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(newRelay(c))
		}
	}()
	return l.Addr().String() + "/" + h.token
}

func (h *relayHost) serve(r relay) {
	defer r.Close()
	var o order
	if r.Decode(&o) != nil || o.Token != h.token {
		return
	}
	if o.Do == "run" {
		h.run(r, o)
		return
	}
	paths, err := h.carryOut(o)
	got := report{Paths: paths, Done: true}
	if err != nil {
		got.Error = err.Error()
	}
	r.Encode(got)
}

// carryOut does what is done at once.
func (h *relayHost) carryOut(o order) (paths []string, err error) {
	path := unixPath(o.Path)
	switch o.Do {
	case "interrupt":
		return nil, h.signal(o.PID, syscall.SIGINT)
	case "suspend":
		return nil, h.signal(o.PID, syscall.SIGSTOP)
	case "resume":
		return nil, h.signal(o.PID, syscall.SIGCONT)
	case "kill":
		return nil, h.signal(o.PID, syscall.SIGKILL)
	case "mount":
		_, err = mounted(o.Path)
	case "vanish":
		waitVanished(path)
	case "mounts":
		for _, point := range mountsBelow(path) {
			paths = append(paths, native(point))
		}
	case "unmount":
		err = unmountBelow(path)
	default:
		err = fmt.Errorf("no order %q", o.Do)
	}
	return paths, err
}

func (h *relayHost) signal(pid int, s syscall.Signal) error {
	h.mu.Lock()
	cmd := h.programs[pid]
	h.mu.Unlock()
	if cmd == nil {
		return fmt.Errorf("process %d stands for no program", pid)
	}
	err := cmd.Process.Signal(s)
	if s == syscall.SIGKILL && errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// sender reports what a program writes.
type sender func(text []byte) error

func (s sender) Write(text []byte) (int, error) { return len(text), s(text) }

// envOfWine is what each Wine has of its own.
var envOfWine = []string{"", "PATH", "SYSTEMROOT", "SYSTEMDRIVE", "PROGRAMFILES", "PROGRAMFILES(X86)", "COMSPEC", "TEMP", "TMP"}

// run runs a program in the Wine of this process. It is killed when the one who stands for it is.
func (h *relayHost) run(r relay, o order) {
	var mu sync.Mutex // guards the encoder
	send := func(got report) error {
		mu.Lock()
		defer mu.Unlock()
		return r.Encode(got)
	}
	cmd := exec.Command(wine, o.Args...)
	cmd.Dir = unixPath(o.Dir)
	cmd.Env = wineEnvironment(scratch)
	for _, pair := range o.Env {
		if name, _, _ := strings.Cut(pair, "="); !slices.Contains(envOfWine, strings.ToUpper(name)) {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	in, err := io.WriteCloser(nil), error(nil)
	if o.Hidden {
		detach(cmd)
	} else {
		cmd.Stdout = sender(func(text []byte) error { return send(report{Stdout: text}) })
		cmd.Stderr = sender(func(text []byte) error { return send(report{Stderr: text}) })
		cmd.WaitDelay = time.Second // what it has started has its outputs too
		group(cmd)
		in, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		send(report{Error: err.Error()})
		return
	}
	h.mu.Lock()
	h.programs[o.PID] = cmd
	h.mu.Unlock()
	left := make(chan struct{}) // by the one who stands for it
	go func() {
		defer close(left)
		for {
			var more order
			if r.Decode(&more) != nil {
				cmd.Process.Kill() // or it has ended
				return
			}
			if in != nil {
				in.Write(more.Input)
			}
			if in != nil && more.Closed {
				in.Close()
			}
		}
	}()
	cmd.Wait()
	send(report{Done: true, Code: cmd.ProcessState.ExitCode()})
	<-left // a connection that is closed with input unread takes reports with it
}

// windowsTests are those that TestTheTestsOfWindows runs unless POCKET_E2E_WINDOWS says otherwise: what Windows does in a
// way of its own, or says, within a minute. A test with a bucket would not do: while it looks at a file, it waits for pocket.exe,
// which would wait for the bucket in the test's own Wine.
var windowsTests = []string{
	"TestMistakes", "TestManifest", "TestHidden", "TestInstallUpgradeUninstall", "TestInstallRefuses", "TestOriginalComesBack",
	"TestImportIntoAStore", "TestStatusOfProcess", "TestFsyncSurvivesKill", "TestWriters",
}

// The tests as they are built for Windows, with pocket.exe, each in a Wine of its own.
func TestTheTestsOfWindows(t *testing.T) {
	needWine(t)
	needMounts(t)
	dir := newFolder(t)
	test := filepath.Join(dir, "e2e.test.exe")
	build := exec.Command("go", "test", "-c", "-o", test, ".")
	build.Env = buildEnvironment()
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, said)
	}
	h := &relayHost{token: rand.Text(), programs: make(map[int]*exec.Cmd)}
	ctx, cancel := t.Context(), func() {}
	if deadline, ok := t.Deadline(); ok {
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Minute)) // time to say what hangs
	}
	defer cancel()
	only := os.Getenv("POCKET_E2E_WINDOWS")
	if only == "" {
		only = strings.Join(windowsTests, "|")
	}
	cmd := exec.CommandContext(ctx, wine, test, "-test.v", "-test.short", "-test.run", only)
	cmd.Env = append(os.Environ(), besideWine(t, os.Environ()), "POCKET_E2E_RELAY="+h.listen(t), "POCKET_E2E_BINARY="+native(os.Getenv("POCKET_E2E_BINARY")))
	out, err := os.Create(filepath.Join(dir, "output")) // a pipe would stay open for Wine's services
	must(t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	said := strings.ReplaceAll(readFile(t, out.Name()), "\r", "")
	results := regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`).FindAllStringSubmatch(said, -1)
	count := make(map[string]int)
	for _, r := range results {
		count[r[1]]++
	}
	if err != nil || count["FAIL"] > 0 {
		t.Errorf("%v\n%s", err, said)
	}
	if count["PASS"] < strings.Count(only, "|")+1 {
		t.Errorf("only %d tests have passed:\n%s", count["PASS"], said)
	}
	t.Logf("%d tests have passed, %d were skipped", count["PASS"], count["SKIP"])
}
