//go:build linux || darwin || freebsd

package statedir

import (
	"os"
	"syscall"
)

// DiskSize returns the size in bytes of the disk that path is on.
func DiskSize(path string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Blocks) * int64(st.Bsize), nil
}
