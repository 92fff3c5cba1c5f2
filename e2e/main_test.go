//go:build linux || windows

package e2e

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

var (
	// scratch holds all that the tests write. It is removed at the end, whatever
	// the end is: see guard.
	scratch string
	// program is the pocket that is tested.
	program string
	// cannotMount says why tests with mounts are skipped, or is empty.
	cannotMount string
)

// asChild is the variable that makes this program one of its own child processes.
const asChild = "POCKET_E2E_CHILD"

// children are the programs that tests run as processes of their own, because they
// have to be more than one, or because a page fault must not stop the S3 server of
// this process.
var children = map[string]func(args []string) error{
	"guard":  guard,
	"writer": writer,
}

func TestMain(m *testing.M) {
	if code, ok := standFor(os.Args); ok {
		os.Exit(code)
	}
	if name := os.Getenv(asChild); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	flag.Parse()
	// Tests wait for other processes more than they compute.
	if !isSet("test.parallel") {
		flag.Set("test.parallel", fmt.Sprint(max(4, runtime.GOMAXPROCS(0))))
	}
	scratch, err = os.MkdirTemp("", "pocket-e2e-")
	if err != nil {
		return 1, err
	}
	if scratch, err = filepath.EvalSymlinks(scratch); err != nil {
		return 1, err
	}
	release, err := startGuard()
	if err != nil {
		return 1, err
	}
	defer func() {
		if failed := release(); err == nil {
			err = failed
		}
	}()
	if err := startStandIn(); err != nil {
		return 1, err
	}
	cannotMount = whyNoMounts()
	if program, err = pocketProgram(); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func isSet(name string) bool {
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// pocketProgram builds pocket or takes the one that is given, with the DLLs beside it. It
// is in scratch either way: that is how guard knows its processes.
func pocketProgram() (string, error) {
	given := os.Getenv("POCKET_E2E_BINARY")
	if given == "" {
		return build("pocket")
	}
	path := filepath.Join(scratch, "bin", "pocket"+exeSuffix)
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if err := copyLibraries(filepath.Dir(given), filepath.Dir(path)); err != nil {
		return "", err
	}
	return path, copyProgram(given, path)
}

// copyLibraries copies the DLLs of one directory into another one, which is made if there are any.
func copyLibraries(from, to string) error {
	libraries, err := filepath.Glob(filepath.Join(from, "*.dll"))
	if err != nil || len(libraries) == 0 {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, library := range libraries {
		if err := copyProgram(library, filepath.Join(to, filepath.Base(library))); err != nil {
			return err
		}
	}
	return nil
}

func copyProgram(from, to string) error {
	body, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeProgram(to, body)
}

// writeProgram writes a program that can be run at once: what is open for writing cannot be, and a process
// that another test is starting has, for a moment, what this one has open.
func writeProgram(path string, body []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, body, 0o755)
}

var builds sync.Mutex

// builtProgram returns another program of cmd: the one beside the pocket that is given, or one that is built, once.
func builtProgram(name string) (path string, err error) {
	builds.Lock()
	defer builds.Unlock()
	for _, dir := range []string{filepath.Dir(os.Getenv("POCKET_E2E_BINARY")), filepath.Join(scratch, name)} {
		path = filepath.Join(dir, name+exeSuffix)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return build(name)
}

// build builds a program of cmd.
func build(name string) (string, error) {
	return buildIn(filepath.Join(scratch, name), name+exeSuffix, "./cmd/"+name, buildEnvironment())
}

// buildIn builds a program in a directory of its own: what lies beside a pocket is installed
// with it.
func buildIn(dir, file, pkg string, env []string) (string, error) {
	out := filepath.Join(dir, file)
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Dir = ".."
	cmd.Env = env
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, said)
	}
	return out, nil
}

// startGuard starts a process that outlives this one: it kills what still runs
// from scratch, unmounts what is mounted there and removes it, also after a panic, a
// time-out or kill -9. release lets it do that now.
func startGuard() (release func() error, err error) {
	cmd := childCommand("guard", scratch)
	detach(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		in.Close()
		return cmd.Wait()
	}, nil
}

// guard is the process of startGuard.
func guard(args []string) error {
	dir := args[0]
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	waitEnd(os.Getppid(), ended)
	killBelow(dir)
	if err := unmountBelow(dir); err != nil {
		return err
	}
	if os.Getenv("POCKET_E2E_KEEP") != "" {
		fmt.Fprintln(os.Stderr, "e2e: kept", dir)
		return nil
	}
	return removeTree(dir)
}

// removeTree removes a directory in which nothing may be mounted: what is mounted
// would be emptied.
func removeTree(dir string) error {
	if left := mountsBelow(dir); len(left) > 0 {
		return fmt.Errorf("%s stays: still mounted: %s", dir, strings.Join(left, ", "))
	}
	return os.RemoveAll(dir)
}

// childCommand is this program as one of its children.
func childCommand(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asChild+"="+name)
	return cmd
}

// child is a running child process of a test.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // what it prints; closed at its end
	fails transcript  // stderr
	end   chan error
}

// startChild starts a child process, which is killed when the test ends.
func startChild(t *testing.T, name string, args ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: childCommand(name, args...), lines: make(chan string, 1<<16), end: make(chan error, 1)}
	c.cmd.Stderr = &c.fails
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			c.lines <- lines.Text()
		}
		close(c.lines)
		c.end <- c.cmd.Wait()
	}()
	t.Cleanup(func() { c.cmd.Process.Kill() })
	return c
}

// finish waits until the child ends by itself, which it must do without an error.
func (c *child) finish() {
	c.t.Helper()
	if err := <-c.end; err != nil {
		c.t.Fatalf("%s: %v\n%s", c.cmd.Args, err, c.fails.text())
	}
}

// needMounts skips a test where nothing can be mounted.
func needMounts(t *testing.T) {
	t.Helper()
	if cannotMount != "" {
		t.Skip(cannotMount)
	}
}

// skipOnWindows skips a test that means nothing for the pocket of Windows.
func skipOnWindows(t *testing.T, why string) {
	t.Helper()
	if onWindows {
		t.Skip("a case of other systems than Windows: " + why)
	}
}

// needProgram skips a test that uses a program which is not installed.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
}
