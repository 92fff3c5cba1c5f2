package bootid

import (
	"os"
	"strings"
)

// get: https://man7.org/linux/man-pages/man4/random.4.html
func get() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
