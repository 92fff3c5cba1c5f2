package fusehost

import (
	"errors"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Check reports, in one line that tells what to install, why nothing can be mounted
// on this machine. It changes nothing. What was installed since an earlier call is found.
func Check() error {
	// cgofuse looks for WinFsp once in a process and must not do so in vain.
	if !libraryIsThere() || !libraryLoads() {
		return errors.New("WinFsp is not installed: winget install WinFsp.WinFsp (https://winfsp.dev)")
	}
	return nil
}

// libraries are WinFsp's by processor.
var libraries = map[string]string{"amd64": "winfsp-x64.dll", "arm64": "winfsp-a64.dll", "386": "winfsp-x86.dll"}

// libraryIsThere reports whether cgofuse would find WinFsp's library: by its name, as in
// the directory of the program, or where the registry says that WinFsp is.
func libraryIsThere() bool {
	name := libraries[runtime.GOARCH]
	if loads(name) {
		return true
	}
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `Software\WinFsp`, registry.QUERY_VALUE|registry.WOW64_32KEY)
	if err != nil {
		return false
	}
	defer key.Close()
	dir, _, err := key.GetStringValue("InstallDir")
	return err == nil && loads(filepath.Join(dir, "bin", name))
}

// loads reports whether a library can be loaded.
func loads(library string) bool {
	h, err := windows.LoadLibrary(library)
	if err != nil {
		return false
	}
	windows.FreeLibrary(h)
	return true
}
