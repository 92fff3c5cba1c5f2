// Linux only: its other half is sys_windows_test.go.

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// environment is what pocket's processes get: nothing of the developer's.
func environment(root string) []string {
	if underWine {
		return wineEnvironment(root)
	}
	return linuxEnvironment(root)
}

func linuxEnvironment(root string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + filepath.Join(root, "home"),
		"XDG_CONFIG_HOME=" + configHome(root),
		"XDG_DATA_HOME=" + dataHome(root),
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

func configHome(root string) string { return filepath.Join(root, "config") }
func dataHome(root string) string   { return filepath.Join(root, "data") }

// whyNoMounts says what is missing to mount, or nothing.
func whyNoMounts() string {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Sprintf("no mounts here: %v", err)
	}
	f.Close()
	if fusermount() == "" {
		return "no mounts here: fusermount is not installed"
	}
	return ""
}

// fusermount returns the program by which users unmount.
func fusermount() string {
	for _, name := range []string{"fusermount", "fusermount3"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// group keeps the terminal's Ctrl-C from pocket: the test decides.
func group(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
}

// detach lets a process outlive this one.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func interrupt(p *os.Process) error { return p.Signal(syscall.SIGINT) } // Wine makes Ctrl-C of it
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// kill ends a process at once.
func kill(p *os.Process) { p.Kill() }

// suspend stops a process until resume.
func suspend(t *testing.T, pid int) {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	// Its threads go on until each of them has met the signal, for a tenth of a second and more
	// on a busy machine, and may answer meanwhile.
	for deadline := time.Now().Add(patience); !stopped(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d does not stop", pid)
		}
	}
}

// stopped reports whether all threads of a process are stopped.
func stopped(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false
	}
	for _, path := range stats {
		if stat, err := os.ReadFile(path); err == nil && !bytes.Contains(stat, []byte(") T ")) {
			return false
		}
	}
	return len(stats) > 0
}

// resume lets a process go on.
func resume(t *testing.T, pid int) {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGCONT))
}

// alive reports whether a process runs. One that has ended may stay as a zombie where nobody waits
// for orphans.
func alive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(status, []byte(") Z "))
}

// openFilesStay says whether a directory with open files in it cannot be renamed.
const openFilesStay = false

// dump makes a Go program write its stacks and end.
func dump(p *os.Process) {
	if underWine {
		p.Kill()
		return
	}
	p.Signal(syscall.SIGQUIT)
}

// inputOutputError is what a read of what cannot be had ends with.
const inputOutputError = syscall.EIO

// dropCache makes the kernel forget a file's pages.
func dropCache(f *os.File) { unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// readOnce reads the beginning of a file past the kernel's cache, by one request.
func readOnce(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(page)
	return f.ReadAt(page, 0)
}

// mountsBelow returns what is mounted in a directory, the innermost first.
func mountsBelow(dir string) (points []string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point := unescape(fields[4])
		if strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	slices.Reverse(points)
	return points
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unmountBelow takes out of sight whatever is mounted in a directory.
func unmountBelow(dir string) error {
	var errs []error
	for _, point := range mountsBelow(dir) {
		if os.Geteuid() == 0 {
			// Forced, so that what waits for an answer waits no more.
			if err := unix.Unmount(point, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
				errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
			}
			continue
		}
		if said, err := exec.Command(fusermount(), "-u", "-z", point).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w: %s", point, err, said))
		}
	}
	return errors.Join(errs...)
}

// waitEnd waits for the end of a process, which ended is closed at; under Wine also for the
// beginning of its end: it closes its files in mounts that it serves itself, and would wait
// for its own answers for ever.
func waitEnd(pid int, ended <-chan struct{}) {
	if !underWine {
		<-ended
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !exiting(pid) {
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

// exiting reports whether a process is about to end.
func exiting(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, fields, ok := strings.Cut(string(stat), ") ")
	if f := strings.Fields(fields); err == nil && ok && len(f) > 6 {
		flags, err := strconv.ParseUint(f[6], 10, 64)
		const isExiting = 4 // PF_EXITING of Linux's sched.h
		return err == nil && flags&isExiting != 0
	}
	return true
}

// killBelow kills the processes whose program lies in a directory.
func killBelow(dir string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err == nil && underWine && strings.HasPrefix(filepath.Base(exe), "wine64") {
			exe = wineProgram(pid)
		}
		if err == nil && strings.HasPrefix(exe, dir+"/") {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// watchRSS returns a channel that gives, when the process has ended, the most memory
// it had resident, in bytes. (What wait4 tells includes this process's, from before exec.)
func (p *process) watchRSS() <-chan int64 {
	peak := make(chan int64, 1)
	path := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	go func() {
		var last int64
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if status, err := os.ReadFile(path); err == nil {
				last = max(last, highWater(string(status)))
			}
			select {
			case <-tick.C:
			case <-p.ended:
				peak <- last
				return
			}
		}
	}()
	return peak
}

// highWater finds the peak of resident memory, in bytes, in a /proc/PID/status.
func highWater(status string) int64 {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// needRoot skips a test that only root can do.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a tmpfs")
	}
}

// mountTmpfs mounts a small file system in memory at a new directory.
func mountTmpfs(t *testing.T, dir string, bytes int64) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
}

// openTerminal returns both ends of a new pseudo terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// ownTerminal makes a terminal on stdin the command's own, as a shell does.
func ownTerminal(cmd *exec.Cmd, slave *os.File) {
	cmd.Stdin = slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
}

func init() { children["without"] = runWithoutDevice }

// runWithoutDevice runs a command in a mount namespace whose /dev lacks fuse.
func runWithoutDevice(args []string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/dev", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "urandom": 9, "random": 8} {
		if err := unix.Mknod("/dev/"+name, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return err
		}
	}
	return syscall.Exec(args[0], args, os.Environ())
}

// symlinks says whether a mount has symbolic links.
var symlinks = !underWine

// shownMode is a file's mode as far as it can be kept: of its rights Windows has who may
// write, and Go shows no more there.
func shownMode(mode os.FileMode) os.FileMode {
	switch {
	case !underWine:
	case mode.IsDir():
		return os.ModeDir | 0o777
	case mode.IsRegular() && mode&0o222 == 0:
		return 0o444
	case mode.IsRegular():
		return 0o666
	}
	return mode
}

// owner returns the owner of a file in words, as far as it can be kept.
func owner(info os.FileInfo) string {
	if underWine {
		return ""
	}
	stat := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
}

// protect makes a directory unwritable until mend: for root by a read-only mount, since
// rights do not count.
func protect(t *testing.T, dir string) (mend func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		return func() { os.Chmod(dir, 0o700) }
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
}
