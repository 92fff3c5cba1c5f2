package fusehost

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/windows"
)

// isDrive reports whether path is a drive, "X:". WinFsp takes no "X:\".
func isDrive(path string) bool { return len(path) == 2 && path[1] == ':' }

// driveLetter returns the letter of a drive, in upper case.
func driveLetter(drive string) byte { return drive[0] &^ ('a' - 'A') }

// usedDrives returns the letters that stand for something, an empty DVD drive too.
func usedDrives() (map[byte]bool, error) {
	bits, err := windows.GetLogicalDrives()
	if err != nil {
		return nil, fmt.Errorf("cannot tell which drives there are: %w", err)
	}
	used := make(map[byte]bool)
	for letter := byte('A'); letter <= 'Z'; letter++ {
		used[letter] = bits&(1<<(letter-'A')) != 0
	}
	return used, nil
}

// chosen are the letters that this process has chosen: the system does not know of them before
// their mounts have begun.
var (
	chosenMu sync.Mutex
	chosen   = make(map[byte]bool) // guarded by chosenMu
)

// chooseDrive returns a free drive, the last one in the alphabet but for those that are spared, as
// WinFsp does. giveDrive gives it back.
func chooseDrive(spared []string) (drive string, err error) {
	taken, err := usedDrives()
	if err != nil {
		return "", err
	}
	for _, drive := range spared {
		taken[driveLetter(drive)] = true
	}
	chosenMu.Lock()
	defer chosenMu.Unlock()
	for letter := byte('Z'); letter >= 'D'; letter-- {
		if !taken[letter] && !chosen[letter] {
			chosen[letter] = true
			return string(letter) + ":", nil
		}
	}
	return "", errors.New("no drive from D: to Z: is free: choose a directory for mount_path")
}

func giveDrive(drive string) {
	chosenMu.Lock()
	defer chosenMu.Unlock()
	delete(chosen, driveLetter(drive))
}
