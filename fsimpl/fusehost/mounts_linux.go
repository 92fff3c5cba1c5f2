package fusehost

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountEntry is a line of /proc/self/mountinfo (proc(5)).
type mountEntry struct {
	path   string
	source string
	pocket bool // a mount of this program's
}

// dead reports whether the process that served the mount is gone. Statfs, because
// the kernel goes on answering a stat for as long as it may keep attributes.
func (e mountEntry) dead() bool {
	var st unix.Statfs_t
	return errors.Is(unix.Statfs(e.path, &st), unix.ENOTCONN)
}

// mountsAt returns what is mounted at a path, the topmost first.
func mountsAt(path string) ([]mountEntry, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(info), path), nil
}

func parseMounts(info, path string) (found []mountEntry) {
	for line := range strings.Lines(info) {
		// id, parent, device, root, mount point, options, optional fields, "-",
		// type, source, options
		fields := strings.Fields(line)
		if len(fields) < 5 || unescape(fields[4]) != path {
			continue
		}
		for i := 5; i+2 < len(fields); i++ {
			if fields[i] == "-" {
				found = append([]mountEntry{{path: path, source: unescape(fields[i+2]), pocket: fields[i+1] == fileSystemType}}, found...)
				break
			}
		}
	}
	return found
}

// unescape undoes the kernel's \040 for a space and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
