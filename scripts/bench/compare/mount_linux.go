package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	mountLimit = 20 * time.Second // from the start of a program until its mount can be used
	endLimit   = 30 * time.Second // from its end until it has ended
)

// mount is a program at its place.
type mount struct {
	program
	place
	proxy *proxy

	mu   sync.Mutex // guards cmd: Ctrl-C kills from another goroutine
	cmd  *exec.Cmd  // nil while not mounted
	done chan error // receives once cmd has ended
	said *tail

	peak int64 // most resident memory of a mount that has ended, bytes
}

// start mounts.
func (m *mount) start(ctx context.Context) error {
	if m.command == nil {
		return nil
	}
	cmd := m.command(ctx, &m.place)
	m.said = &tail{}
	cmd.Stdout, cmd.Stderr = m.said, m.said
	// A group of its own: Ctrl-C in the terminal is for the benchmark, which unmounts.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	m.mu.Lock()
	m.cmd, m.done = cmd, done
	m.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !mounted(m.mount()); {
		select {
		case err := <-done:
			done <- err
			return fmt.Errorf("%s ended before it had mounted: %w: %s", m.name, err, m.said.last())
		case <-tick.C:
		}
		if time.Since(start) > mountLimit {
			m.kill()
			return fmt.Errorf("%s had not mounted after %v: %s", m.name, mountLimit, m.said.last())
		}
	}
	return nil
}

func (m *mount) mount() string { return m.place.mount }

// mounted reports whether a directory is a mount of FUSE.
func mounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == dir && strings.HasPrefix(f[2], "fuse") {
			return true
		}
	}
	return false
}

// stop unmounts and waits until the program has ended.
func (m *mount) stop() error {
	m.mu.Lock()
	cmd, done := m.cmd, m.done
	m.mu.Unlock()
	if cmd == nil {
		return nil
	}
	m.peak = max(m.peak, peakOf(cmd.Process.Pid))
	var err error
	if m.signal {
		err = cmd.Process.Signal(os.Interrupt)
	} else {
		err = exec.Command("fusermount", "-u", m.mount()).Run()
	}
	if err == nil {
		limit := time.NewTimer(endLimit)
		defer limit.Stop()
		select {
		case <-done: // some end with a code of their own when they are unmounted
			m.mu.Lock()
			m.cmd = nil
			m.mu.Unlock()
		case <-limit.C:
			err = fmt.Errorf("%s had not ended after %v: %s", m.name, endLimit, m.said.last())
		}
	}
	if err != nil || mounted(m.mount()) {
		m.kill()
	}
	return err
}

// kill ends it at once. It may be called at any time, by several goroutines.
func (m *mount) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		for _, pid := range append(tree(m.cmd.Process.Pid), m.cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		select {
		case <-m.done:
		case <-time.After(5 * time.Second):
		}
		m.cmd = nil
	}
	if m.command != nil && mounted(m.mount()) {
		_ = exec.Command("fusermount", "-u", "-z", m.mount()).Run() // removeAll refuses while it is mounted
	}
}

// cold ends it, removes its caches and mounts it again.
func (m *mount) cold(ctx context.Context) error {
	if err := m.stop(); err != nil {
		return err
	}
	for _, name := range m.caches {
		if err := os.RemoveAll(m.in(name)); err != nil {
			return err
		}
	}
	syscall.Sync() // what was written so far is not written while the next row is measured
	return m.start(ctx)
}

// tree returns the processes that a process has started, and those that they have.
func tree(pid int) []int {
	children := map[int][]int{}
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range entries {
		body, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent: the name may hold anything
		f := bytes.Fields(body[bytes.LastIndexByte(body, ')')+1:])
		child, e1 := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		parent, e2 := strconv.Atoi(string(f[1]))
		if e1 == nil && e2 == nil {
			children[parent] = append(children[parent], child)
		}
	}
	var all []int
	for next := children[pid]; len(next) > 0; {
		all = append(all, next[0])
		next = append(next[1:], children[next[0]]...)
	}
	return all
}

// peakOf adds up the most memory that each process of a tree has had resident.
func peakOf(pid int) int64 {
	var sum int64
	for _, p := range append(tree(pid), pid) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
				if err == nil {
					sum += kib << 10
				}
			}
		}
	}
	return sum
}

// removeAll removes a directory in which nothing is mounted any more.
func removeAll(dir string) error {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	if strings.Contains(string(table), " "+dir+"/") {
		return errors.New(dir + ": something is still mounted below it: unmount it with fusermount -u and remove the directory")
	}
	return os.RemoveAll(dir)
}

// tail keeps the end of what a program says.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > 8192 {
		t.text = append([]byte(nil), t.text[len(t.text)-4096:]...)
	}
	return len(p), nil
}

func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return lastLine(string(t.text))
}
