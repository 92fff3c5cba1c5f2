package main

import (
	"os"
	"os/exec"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/autostart"
)

var (
	kernel32                = windows.NewLazySystemDLL("kernel32.dll")
	getConsoleProcessList   = kernel32.NewProc("GetConsoleProcessList")
	allocConsoleWithOptions = kernel32.NewProc("AllocConsoleWithOptions")
	setConsoleCtrlHandler   = kernel32.NewProc("SetConsoleCtrlHandler")
)

// From consoleapi.h: https://learn.microsoft.com/windows/console/alloc-console-options
const (
	allocConsoleDefault  = 0 // one if whoever started the process asked for one
	allocConsoleNoWindow = 2

	allocConsoleResultNew = 1
)

// allocConsoleOptions is ALLOC_CONSOLE_OPTIONS.
type allocConsoleOptions struct {
	mode          int32
	useShowWindow int32
	showWindow    uint16
}

// onConsole returns how many processes are on this one's console, as far as 2; 0: there is none.
func onConsole() int {
	var pids [2]uint32
	n, _, _ := getConsoleProcessList.Call(uintptr(unsafe.Pointer(&pids[0])), uintptr(len(pids)))
	return int(n)
}

// openConsole makes the console that the system has not made, because of the manifest, when it
// would have: somebody double-clicked pocket.exe. Then pocket has run on it, and code is its exit
// code. The installed one, which is started at logon, gets one without a window: what it may run (a
// credential_process of the AWS configuration) uses that instead of showing one of its own.
//
// Before Windows 11 24H2 there is no such manifest and nothing to do here.
func openConsole(args []string) (code int, ran bool) {
	if onConsole() > 0 || allocConsoleWithOptions.Find() != nil {
		return 0, false
	}
	if mounts := len(args) == 0 || strings.HasPrefix(args[0], "-"); mounts && isInstalled() {
		allocConsole(allocConsoleNoWindow)
		return 0, false
	}
	if isOpen(os.Stdin) || isOpen(os.Stdout) || isOpen(os.Stderr) {
		return 0, false // whoever started it reads what it says
	}
	if !allocConsole(allocConsoleDefault) {
		return 0, false
	}
	// A new console makes the system forget who handles Ctrl-C, as Go's runtime does from the
	// beginning on. Another process finds the console there.
	code, err := runOnConsole(args)
	return code, err == nil
}

// allocConsole reports whether there is a new console now.
func allocConsole(mode int32) bool {
	options, result := allocConsoleOptions{mode: mode}, int32(0)
	status, _, _ := allocConsoleWithOptions.Call(uintptr(unsafe.Pointer(&options)), uintptr(unsafe.Pointer(&result)))
	return int32(status) >= 0 && result == allocConsoleResultNew
}

// isOpen reports whether a standard file is one.
func isOpen(f *os.File) bool {
	if f == nil {
		return false
	}
	kind, _ := windows.GetFileType(windows.Handle(f.Fd()))
	return kind != windows.FILE_TYPE_UNKNOWN
}

// runOnConsole runs pocket on the console of this process and returns its exit code.
func runOnConsole(args []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	cmd := exec.Command(self, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	setConsoleCtrlHandler.Call(0, 1) // Ctrl-C is the other one's; after its start, which would inherit it
	err = cmd.Wait()
	if cmd.ProcessState == nil {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// leaveConsole starts the installed pocket again without a console, and reports that it
// did, when the system has made one just for this process: so it does at logon, before
// Windows 11 24H2. From a shell, which is on the console too, it goes on where it is.
func leaveConsole(args []string) bool {
	if onConsole() != 1 {
		return false
	}
	var visible uint32
	if windows.GetConsoleMode(windows.Handle(os.Stderr.Fd()), &visible) != nil {
		return false // without a window, as it is started here
	}
	if !isInstalled() {
		return false
	}
	self, err := os.Executable()
	if err != nil {
		return false
	}
	_, err = autostart.Detach(self, args)
	return err == nil
}

// isInstalled reports whether this is the program that pocket install has installed.
func isInstalled() bool {
	self, err := os.Executable()
	if err != nil {
		return false
	}
	site, err := autostart.Open()
	if err != nil {
		return false
	}
	a, err := os.Stat(self)
	if err != nil {
		return false
	}
	b, err := os.Stat(site.Program())
	return err == nil && os.SameFile(a, b)
}
