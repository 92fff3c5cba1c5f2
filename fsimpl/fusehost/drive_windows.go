package fusehost

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/windows"
)

// isDrive reports whether path is a drive, "X:". WinFsp takes no "X:\".
func isDrive(path string) bool { return len(path) == 2 && path[1] == ':' }

// driveLetter returns the letter of a drive, in upper case.
func driveLetter(drive string) byte { return drive[0] &^ ('a' - 'A') }

// isUsed reports whether a letter stands for something, an empty DVD drive too.
func isUsed(letter byte) (bool, error) {
	bits, err := windows.GetLogicalDrives()
	if err != nil {
		return false, fmt.Errorf("cannot tell which drives there are: %w", err)
	}
	if bits&(1<<(letter-'A')) != 0 {
		return true, nil
	}
	_, err = os.Stat(string(letter) + `:\`)
	return err == nil, nil
}

// chosen are the letters that this process has chosen: the system does not know of them before
// their mounts have begun.
var (
	chosenMu sync.Mutex
	chosen   = make(map[byte]bool) // guarded by chosenMu
)

// take notes that a letter is chosen, and reports false when it was.
func take(letter byte) bool {
	chosenMu.Lock()
	defer chosenMu.Unlock()
	was := chosen[letter]
	chosen[letter] = true
	return !was
}

// giveDrive gives back what chooseDrive has returned.
func giveDrive(drive string) {
	chosenMu.Lock()
	defer chosenMu.Unlock()
	delete(chosen, driveLetter(drive))
}

// chooseDrive returns a free drive, the last one in the alphabet but for those that are spared, as
// WinFsp does.
func chooseDrive(spared []string) (drive string, err error) {
	for letter := byte('Z'); letter >= 'D'; letter-- {
		spare := func(drive string) bool { return driveLetter(drive) == letter }
		if slices.ContainsFunc(spared, spare) || !take(letter) {
			continue
		}
		drive := string(letter) + ":"
		used, err := isUsed(letter)
		if err == nil && !used {
			return drive, nil
		}
		giveDrive(drive)
		if err != nil {
			return "", err
		}
	}
	return "", errors.New("no drive from D: to Z: is free: choose a directory for mount_path")
}
