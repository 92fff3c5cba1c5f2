package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

const (
	exeSuffix = ".exe"
	// onWindows says whether the pocket that is tested is the one for Windows.
	onWindows = true
)

// symlinks says whether users of this system can make symbolic links.
const symlinks = false

// programCommand is a command of a built program.
func programCommand(program string, args ...string) *exec.Cmd { return exec.Command(program, args...) }

// buildEnvironment is that of go build.
func buildEnvironment() []string { return os.Environ() }

// native is a path, or the end of one, as the built programs write it.
func native(path string) string { return filepath.FromSlash(path) }

// startStandIn has nothing to start: here is WinFsp itself.
func startStandIn() error { return nil }

// mounted returns where a mount is that pocket says is there.
func mounted(path string) (string, error) { return path, nil }

// waitVanished waits until a mount is gone whose pocket is: WinFsp's directories go with their
// process, a moment later.
func waitVanished(path string) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Lstat(path); os.IsNotExist(err) {
			return
		}
	}
}

// originalEndsHere are those of this system: no others than everywhere.
var originalEndsHere []originalEnd

// beside returns this machine for a program that looks at what another one has mounted.
func (m *machine) beside() *machine { return m }

// underWine says whether the tests run on Linux and pocket.exe under Wine.
const underWine = false

// fewer is how many files a test makes of many.
func fewer(n int) int { return n }

// environment is what pocket's processes get: of the developer's only what Windows
// itself needs.
func environment(root string) []string {
	env := []string{
		"USERPROFILE=" + filepath.Join(root, "home"),
		"APPDATA=" + configHome(root),
		"LOCALAPPDATA=" + dataHome(root),
		"AWS_EC2_METADATA_DISABLED=true",
	}
	for _, name := range []string{"PATH", "SystemRoot", "SystemDrive", "ProgramFiles", "ProgramFiles(x86)", "ComSpec", "TEMP", "TMP"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func configHome(root string) string { return filepath.Join(root, "config") }
func dataHome(root string) string   { return filepath.Join(root, "data") }

// whyNoMounts says what is missing to mount, or nothing.
func whyNoMounts() string {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `Software\WinFsp`, registry.QUERY_VALUE|registry.WOW64_32KEY)
	if err != nil {
		return fmt.Sprintf("no mounts here: WinFsp is not installed: %v", err)
	}
	key.Close()
	return ""
}

// group lets pocket be interrupted without this process.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// detach lets a process outlive this one.
func detach(cmd *exec.Cmd) { group(cmd) }

// interrupt sends Ctrl-Break: Windows delivers Ctrl-C to whole consoles only.
func interrupt(p *os.Process) error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.Pid))
}

// dump ends a program that hangs.
func dump(p *os.Process) { p.Kill() }

// dropCache makes the system forget a file's pages, which Windows cannot be asked.
func dropCache(*os.File) {}

// readOnce reads the beginning of a file.
func readOnce(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(make([]byte, 4096), 0)
}

// shownMode is a file's mode as far as it can be kept.
func shownMode(mode os.FileMode) os.FileMode { return mode }

// owner returns the owner of a file in words: not looked at here.
func owner(os.FileInfo) string { return "" }

// mountsBelow returns what is mounted in a directory: junctions that WinFsp made. A mount
// ends with its process.
func mountsBelow(dir string) (points []string) {
	entries, err := os.ReadDir(filepath.Join(dir, "home"))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.Type()&(os.ModeIrregular|os.ModeSymlink) != 0 {
			points = append(points, filepath.Join(dir, "home", e.Name()))
		}
	}
	return points
}

// unmountBelow has nothing to do: see mountsBelow. A junction to a volume that is gone
// is removed with its directory.
func unmountBelow(string) error { return nil }

// waitEnd waits for the end of a process, which ended is closed at.
func waitEnd(_ int, ended <-chan struct{}) { <-ended }

// killBelow kills the processes whose program lies in a directory.
func killBelow(dir string) {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return
	}
	defer windows.CloseHandle(snapshot)
	var e windows.ProcessEntry32
	e.Size = uint32(unsafe.Sizeof(e))
	for err := windows.Process32First(snapshot, &e); err == nil; err = windows.Process32Next(snapshot, &e) {
		killIfBelow(e.ProcessID, dir)
	}
}

func killIfBelow(pid uint32, dir string) {
	p, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.PROCESS_TERMINATE, false, pid)
	if err != nil {
		return
	}
	defer windows.CloseHandle(p)
	name := make([]uint16, windows.MAX_LONG_PATH)
	n := uint32(len(name))
	if windows.QueryFullProcessImageName(p, 0, &name[0], &n) != nil {
		return
	}
	if rel, err := filepath.Rel(dir, windows.UTF16ToString(name[:n])); err == nil && filepath.IsLocal(rel) && pid != uint32(os.Getpid()) {
		windows.TerminateProcess(p, 1)
	}
}

// memoryCounters is PROCESS_MEMORY_COUNTERS:
// https://learn.microsoft.com/en-us/windows/win32/api/psapi/ns-psapi-process_memory_counters
type memoryCounters struct {
	size, pageFaults                                                                                                       uint32
	peakWorkingSet, workingSet, peakPagedPool, pagedPool, peakNonPagedPool, nonPagedPool, pagefileUsage, peakPagefileUsage uintptr
}

var processMemory = windows.NewLazySystemDLL("kernel32.dll").NewProc("K32GetProcessMemoryInfo")

// watchRSS returns a channel that gives, when the process has ended, the most memory
// it had resident, in bytes.
func (p *process) watchRSS() <-chan int64 {
	peak := make(chan int64, 1)
	handle, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(p.cmd.Process.Pid))
	if err != nil {
		p.m.t.Fatal(err)
	}
	go func() {
		<-p.ended
		defer windows.CloseHandle(handle)
		var c memoryCounters
		c.size = uint32(unsafe.Sizeof(c))
		processMemory.Call(uintptr(handle), uintptr(unsafe.Pointer(&c)), uintptr(c.size))
		peak <- int64(c.peakWorkingSet)
	}()
	return peak
}

// protect makes a directory unwritable until mend.
func protect(t *testing.T, dir string) (mend func()) {
	t.Helper()
	t.Skip("Windows keeps no rights of directories that this test could take: a file in its place stands for it")
	return nil
}
