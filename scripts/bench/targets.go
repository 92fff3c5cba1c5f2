package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// target is something whose speed is measured.
type target interface {
	name() string
	dir() string // where files are written
	// restart ends it and starts it again, so that memory and the kernel's caches of the
	// mount are empty. stored is when everything was in its store: the zero time for one
	// that has none.
	restart() (stored time.Time, err error)
	// peakRSS returns the most memory that its process has had, in bytes;
	// errDoesNotApply without one.
	peakRSS() (int64, error)
	close() error
}

// plain is a directory of the disk on which the others keep their files.
type plain string

func openPlain(dir string) (target, error) { return plain(dir), os.Mkdir(dir, 0o755) }

func (p plain) name() string                { return "plain" }
func (p plain) dir() string                 { return string(p) }
func (p plain) restart() (time.Time, error) { return time.Time{}, nil }
func (p plain) peakRSS() (int64, error)     { return 0, errDoesNotApply }
func (p plain) close() error                { return nil }

// pocket is a mount of Pocket on a store in a folder.
type pocket struct {
	root    string
	program string
	cmd     *exec.Cmd
	ended   chan error
	peak    int64 // of processes that have ended
}

func openPocket(root, program string) (target, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	p := &pocket{root: root, program: program}
	if err := os.MkdirAll(filepath.Join(root, "objects"), 0o700); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("[storages.folder]\nbackend = \"dir\"\n[storages.folder.dir]\npath = '%s'\n\n[[mounts]]\nname = \"bench\"\nmount_path = '%s'\nstorage = \"folder\"\n", filepath.Join(root, "objects"), p.dir())
	if err := os.WriteFile(filepath.Join(root, "config.toml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return p, p.start()
}

func (p *pocket) name() string { return "pocket" }
func (p *pocket) dir() string  { return filepath.Join(p.root, "mount") }

// start starts pocket and waits until it says that its mount can be used.
func (p *pocket) start() error {
	p.cmd = exec.Command(p.program, "--config", filepath.Join(p.root, "config.toml"))
	p.cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+filepath.Join(p.root, "data"))
	said, err := p.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	mounted := make(chan bool, 1)
	p.ended = make(chan error, 1)
	var last string
	go func() {
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			last = lines.Text()
			if strings.HasPrefix(last, "pocket: mounted ") {
				mounted <- true
			}
		}
		err := p.cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, last)
		}
		p.ended <- err
	}()
	select {
	case <-mounted:
		return nil
	case err := <-p.ended:
		p.cmd = nil
		return fmt.Errorf("pocket ended before it mounted: %w", err)
	}
}

func (p *pocket) stop() (time.Time, error) {
	if rss, err := p.peakRSS(); err == nil {
		p.peak = rss
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return time.Time{}, err
	}
	err := <-p.ended
	p.cmd = nil
	return time.Now(), err
}

func (p *pocket) restart() (time.Time, error) {
	stored, err := p.stop()
	if err != nil {
		return stored, err
	}
	return stored, p.start()
}

// peakRSS reads the kernel's high-water mark.
func (p *pocket) peakRSS() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		return p.peak, errDoesNotApply // no Linux
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return max(p.peak, kib<<10), err
		}
	}
	return p.peak, err
}

func (p *pocket) close() error {
	if p.cmd == nil {
		return nil
	}
	_, err := p.stop()
	return err
}
