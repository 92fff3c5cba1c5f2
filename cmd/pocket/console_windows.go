package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/autostart"
)

var getConsoleProcessList = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetConsoleProcessList")

// leaveConsole starts the installed pocket again without a console, and reports that it
// did, when the system has made one just for this process: so it does at logon. From a
// shell, which is on the console too, it goes on where it is.
func leaveConsole(args []string) bool {
	var pids [2]uint32
	n, _, _ := getConsoleProcessList.Call(uintptr(unsafe.Pointer(&pids[0])), uintptr(len(pids)))
	if n != 1 {
		return false
	}
	var visible uint32
	if windows.GetConsoleMode(windows.Handle(os.Stderr.Fd()), &visible) != nil {
		return false // without a window, as it is started here
	}
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
	if err != nil || !os.SameFile(a, b) {
		return false
	}
	_, err = autostart.Detach(self, args)
	return err == nil
}
