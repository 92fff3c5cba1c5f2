package fusehost

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// lookHelper is exec.LookPath; tests replace it.
var lookHelper = exec.LookPath

// Check reports, in one line that tells what to install, why nothing can be mounted
// on this machine. It changes nothing.
func Check() error {
	if !libraryLoads() {
		return errors.New("libfuse 2 is not installed: " + install("libfuse2", "fuse-libs", "fuse2"))
	}
	// fusermount opens the device with the rights of who calls it.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return deviceError(err)
	}
	unix.Close(fd)
	if os.Geteuid() != 0 {
		_, err = findHelper()
	}
	return err
}

// deviceError explains why /dev/fuse cannot be opened.
func deviceError(err error) error {
	switch err {
	case unix.ENOENT, unix.ENODEV, unix.ENXIO:
		return fmt.Errorf("/dev/fuse: %w: load the kernel's module (sudo modprobe fuse); in a container, run it with --device /dev/fuse --cap-add SYS_ADMIN", err)
	case unix.EACCES:
		return fmt.Errorf("/dev/fuse: %w: let everybody use it: sudo chmod 666 /dev/fuse", err)
	case unix.EPERM:
		return fmt.Errorf("/dev/fuse: %w: in a container, run it with --device /dev/fuse --cap-add SYS_ADMIN", err)
	}
	return fmt.Errorf("/dev/fuse: %w", err)
}

// findHelper returns the program by which users other than root mount.
func findHelper() (string, error) {
	for _, name := range []string{"fusermount3", "fusermount"} {
		if path, err := lookHelper(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("fusermount is not installed: " + install("fuse3", "fuse3", "fuse3"))
}

// install returns the command that installs a package, by the names it has on
// Debian, on Fedora and on Arch.
func install(debian, fedora, arch string) string {
	for _, c := range []struct{ tool, command string }{
		{"apt-get", "sudo apt-get install " + debian},
		{"dnf", "sudo dnf install " + fedora},
		{"pacman", "sudo pacman -S " + arch},
	} {
		if _, err := lookHelper(c.tool); err == nil {
			return c.command
		}
	}
	if debian == fedora && fedora == arch {
		return "install " + debian
	}
	return fmt.Sprintf("install %s (Debian), %s (Fedora) or %s (Arch)", debian, fedora, arch)
}
