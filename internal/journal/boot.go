package journal

import (
	"os"

	"github.com/hamflx/pocket/internal/busyfile"
)

// bootSuffix is that of the file that holds the id of the boot in which all of the log was written.
const bootSuffix = "-boot"

// bootOf returns the id of the boot in which the log of the journal at path was written, or "".
func bootOf(path string) string {
	id, err := busyfile.ReadFile(path + bootSuffix)
	if err != nil {
		return ""
	}
	return string(id)
}

// noteBoot notes that all of the log is of this boot: it empties it first, since what an earlier one
// left behind its end would be taken for what this one wrote. What fails makes
// the next start less certain, and nothing else. It is not synced: after a power loss it is of an earlier
// boot, whatever it says.
func (d *database) noteBoot(boot string) {
	if boot == "" || bootOf(d.path) == boot {
		return
	}
	busy, _, err := d.main.checkpoint("TRUNCATE")
	if info, failed := os.Stat(d.path + "-wal"); err != nil || busy || failed == nil && info.Size() > 0 {
		return
	}
	_ = os.WriteFile(d.path+bootSuffix, []byte(boot), 0o600)
}
