package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/hamflx/pocket/internal/creds"
)

const (
	exeSuffix = ".exe"
	// onWindows says whether the pocket that is tested is the one for Windows.
	onWindows = true
)

// symlinks says whether users of this system can make symbolic links.
const symlinks = false

// buildEnvironment is that of go build.
func buildEnvironment() []string { return os.Environ() }

// native is a path, or the end of one, as the built programs write it.
func native(path string) string { return filepath.FromSlash(path) }

// startStandIn has nothing to start: here is WinFsp itself.
func startStandIn() error { return nil }

// mounted returns where a mount is that pocket says is there.
func mounted(path string) (string, error) {
	if underWine {
		_, err := ask(order{Do: "mount", Path: path})
		return path, err
	}
	return path, nil
}

// waitVanished waits until a mount is gone whose pocket is: WinFsp's directories go with their
// process, a moment later.
func waitVanished(path string) {
	if underWine {
		ask(order{Do: "vanish", Path: path}) // or the test will find it
		return
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Lstat(path); os.IsNotExist(err) {
			return
		}
	}
}

// originalEndsHere and notMovableHere are those of this system: no others than everywhere.
var (
	originalEndsHere []originalEnd
	notMovableHere   []notMovable
)

// beside returns this machine for a program that looks at what another one has mounted.
func (m *machine) beside() *machine {
	m.t.Helper()
	if underWine {
		m.t.Skip("a program in pocket.exe's Wine that looks at its mount would wait for it for ever")
	}
	return m
}

// underWine says whether all of this runs under Wine, with pocket.exe in another one: see relay_test.go.
var underWine = relayAddress != ""

// fewer is how many files a test makes of many: through Wine's servers each takes longer.
func fewer(n int) int {
	if underWine {
		return n / 5
	}
	return n
}

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
	if underWine {
		return ""
	}
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `Software\WinFsp`, registry.QUERY_VALUE|registry.WOW64_32KEY)
	if err != nil {
		return fmt.Sprintf("no mounts here: WinFsp is not installed: %v", err)
	}
	key.Close()
	return ""
}

// group lets pocket be interrupted without this process.
func group(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	}
}

// detach lets a process outlive this one and its console, which it has no part of.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}

// interrupt sends Ctrl-Break: Windows delivers Ctrl-C to whole consoles only.
func interrupt(p *os.Process) error {
	if underWine {
		_, err := ask(order{Do: "interrupt", PID: p.Pid})
		return err
	}
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.Pid))
}

var (
	ntdll            = windows.NewLazySystemDLL("ntdll.dll")
	ntSuspendProcess = ntdll.NewProc("NtSuspendProcess")
	ntResumeProcess  = ntdll.NewProc("NtResumeProcess")
)

// suspend stops a process until resume.
func suspend(t *testing.T, pid int) {
	t.Helper()
	callWithProcess(t, "suspend", ntSuspendProcess, pid)
}

// resume lets a process go on.
func resume(t *testing.T, pid int) {
	t.Helper()
	callWithProcess(t, "resume", ntResumeProcess, pid)
}

func callWithProcess(t *testing.T, what string, proc *windows.LazyProc, pid int) {
	t.Helper()
	if underWine {
		_, err := ask(order{Do: what, PID: pid})
		must(t, err)
		return
	}
	p, err := windows.OpenProcess(windows.PROCESS_SUSPEND_RESUME, false, uint32(pid))
	must(t, err)
	defer windows.CloseHandle(p)
	if status, _, _ := proc.Call(uintptr(p)); status != 0 {
		t.Fatalf("%s of process %d: status %#x", proc.Name, pid, status)
	}
}

// alive reports whether a process runs.
func alive(pid int) bool {
	p, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return false
	}
	defer windows.CloseHandle(p)
	event, err := windows.WaitForSingleObject(p, 0)
	return err == nil && event == uint32(windows.WAIT_TIMEOUT)
}

// openFilesStay says whether a directory with open files in it cannot be renamed, which one Wine does not know of
// the other's.
var openFilesStay = !underWine

// needNoSystemd has nothing to do: Windows has none.
func (*installing) needNoSystemd() {}

// checkDetached checks that a process outlives the console of who has installed it: it has another one, or
// none.
func checkDetached(t *testing.T, pid int) {
	t.Helper()
	if underWine {
		return // its number is the other Wine's
	}
	var pids [64]uint32
	n, _, _ := consoleProcesses.Call(uintptr(unsafe.Pointer(&pids[0])), uintptr(len(pids)))
	if slices.Contains(pids[:min(int(n), len(pids))], uint32(pid)) {
		t.Error("it is on the console of who installed it")
	}
}

var consoleProcesses = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetConsoleProcessList")

// checkKept checks what a file of pocket-creds keeps: the key, which can be decrypted here.
func checkKept(i *installing, file, key string) {
	i.t.Helper()
	if strings.Contains(readFile(i.t, file), key[len(key)-8:]) {
		i.t.Error("the secret key can be read")
	}
	got, err := creds.Open(filepath.Dir(file)).Get(strings.TrimSuffix(filepath.Base(file), ".bin"))
	must(i.t, err)
	if got.AccessKeyID+"\n"+got.SecretAccessKey != key {
		i.t.Errorf("kept is %v, not what was given", got)
	}
}

// logon does what Windows does when the user logs on: it starts what the registry says, with a console if that
// wants one.
func logon(i *installing) {
	i.t.Helper()
	if underWine {
		wineLogon(i)
		return
	}
	cmd := exec.Command(i.starter())
	cmd.Env, cmd.Dir = i.env, i.home()
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: i.runValue()}
	must(i.t, cmd.Start())
	must(i.t, cmd.Process.Release())
}

// kill ends a process at once.
func kill(p *os.Process) {
	if underWine {
		ask(order{Do: "kill", PID: p.Pid})
	}
	p.Kill()
}

// dump ends a program that hangs.
func dump(p *os.Process) { p.Kill() }

// inputOutputError is what a read of what cannot be had ends with; Wine has another one for EIO.
var inputOutputError = map[bool]error{false: windows.ERROR_IO_DEVICE, true: windows.ERROR_NOT_READY}[underWine]

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

// mountsBelow returns what is mounted in a directory, a home or what a home is in: junctions that WinFsp made. A mount
// ends with its process.
func mountsBelow(dir string) (points []string) {
	if underWine {
		got, err := ask(order{Do: "mounts", Path: dir})
		if err != nil {
			return []string{err.Error()}
		}
		return got.Paths
	}
	for _, dir := range []string{dir, filepath.Join(dir, "home")} { // of a machine, too
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // there is none
		}
		for _, e := range entries {
			if e.Type()&(os.ModeIrregular|os.ModeSymlink) != 0 {
				points = append(points, filepath.Join(dir, e.Name()))
			}
		}
	}
	return points
}

// unmountBelow has nothing to do: see mountsBelow. A junction to a volume that is gone
// is removed with its directory.
func unmountBelow(dir string) error {
	if underWine {
		_, err := ask(order{Do: "unmount", Path: dir})
		return err
	}
	return nil
}

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
