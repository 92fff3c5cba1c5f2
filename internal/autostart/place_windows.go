package autostart

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/statedir"
)

const (
	exeSuffix   = ".exe"
	starterName = "pocketw.exe"
)

// itself are the programs that are made of pocket, whichever of them that is.
var itself = []madeOfPocket{{pocketName, subsystemConsole}, {starterName, subsystemGUI}}

// Open returns the site of this user.
func Open() (*Site, error) {
	dataDir, err := statedir.DataDir()
	if err != nil {
		return nil, err
	}
	return &Site{Dir: filepath.Join(dataDir, "bin"), Entry: runValue{key: runKey, name: "Pocket"}}, nil
}

// setAside renames a program that runs and returns where it is now: in the directory for
// temporary files, which the system's clean-up knows, or beside its place when that is on
// another volume. It is removed with the next start of Windows, where the user may ask for that.
func setAside(path string) (string, error) {
	name := strings.TrimSuffix(filepath.Base(path), exeSuffix) + "-removed-" + rand.Text()[:8] + exeSuffix
	aside := filepath.Join(os.TempDir(), name)
	if err := busyfile.Rename(path, aside); err != nil {
		aside = path + oldInfix + rand.Text()[:8] + exeSuffix
		if err := busyfile.Rename(path, aside); err != nil {
			return "", err
		}
	}
	if p, err := windows.UTF16PtrFromString(aside); err == nil {
		windows.MoveFileEx(p, nil, windows.MOVEFILE_DELAY_UNTIL_REBOOT) // administrators only
	}
	return aside, nil
}

// removeEmpty removes the directory of the programs, which has nothing else in it.
func removeEmpty(dir string) { os.Remove(dir) }

// Running returns the processes, but for this one, that run a program.
func Running(program string) []int {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil
	}
	defer windows.CloseHandle(snapshot)
	var pids []int
	entry := windows.ProcessEntry32{}
	entry.Size = uint32(unsafe.Sizeof(entry))
	for err = windows.Process32First(snapshot, &entry); err == nil; err = windows.Process32Next(snapshot, &entry) {
		name := windows.UTF16ToString(entry.ExeFile[:])
		pid := int(entry.ProcessID)
		if pid != os.Getpid() && strings.EqualFold(name, filepath.Base(program)) && runs(entry.ProcessID, program) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// runs reports whether a process runs a program.
func runs(pid uint32, program string) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return false // another user's
	}
	defer windows.CloseHandle(h)
	image := make([]uint16, windows.MAX_LONG_PATH)
	size := uint32(len(image))
	if err := windows.QueryFullProcessImageName(h, 0, &image[0], &size); err != nil {
		return false
	}
	path := windows.UTF16ToString(image[:size])
	if strings.EqualFold(path, program) {
		return true
	}
	a, err := os.Stat(path)
	if err != nil {
		return false
	}
	b, err := os.Stat(program)
	return err == nil && os.SameFile(a, b)
}
