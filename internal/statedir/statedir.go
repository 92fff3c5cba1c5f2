// Package statedir knows where Pocket keeps things on this machine, and holds
// the one directory a mount keeps its local state in.
//
// The directories by platform:
//
//	          configuration                                data
//	Windows   %APPDATA%\hamflx\pocket                      %LOCALAPPDATA%\hamflx\pocket
//	macOS     ~/Library/Application Support/hamflx/pocket  the same
//	others    $XDG_CONFIG_HOME/hamflx/pocket               $XDG_DATA_HOME/hamflx/pocket
//	          (~/.config where unset)                      (~/.local/share where unset)
//
// Below the data directory lie logs/pocket.log and state/<id>/, one directory
// per mount; docs/state.md describes what is in it. Open takes a lock on it that
// ends with the process, however the process ends.
package statedir

import (
	"errors"
	"fmt"
)

// ErrLocked is what errors.Is finds in the error of Open when another process
// uses the state directory; a LockedError tells which.
var ErrLocked = errors.New("state directory is in use")

// LockedError tells who holds a state directory.
type LockedError struct {
	Dir string // the state directory
	PID int    // process that holds it; 0 when that cannot be told
}

// Error implements error: one line with the next step.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is in use by another pocket: only one may use it, stop that one first", e.Dir)
	}
	return fmt.Sprintf("%s is in use by another pocket (process %d): only one may use it, stop that one first", e.Dir, e.PID)
}

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

var errUnbuilt = errors.New("statedir: not built yet")

// ConfigDir returns the directory of config.toml and credentials/. It need not
// exist.
func ConfigDir() (string, error) { return "", errUnbuilt }

// ConfigFiles returns where config.toml is looked for, the first that exists
// wins: ConfigDir, then the working directory.
func ConfigFiles() ([]string, error) { return nil, errUnbuilt }

// DataDir returns the directory of logs and state. It need not exist.
func DataDir() (string, error) { return "", errUnbuilt }

// LogFile returns the path of the log file below a data directory.
func LogFile(dataDir string) string { return "" }

// ID returns a name for a state directory that follows from parts alone, which
// together say what is mounted (the store's identity, the prefix ...). Different
// parts give different names.
func ID(parts ...string) string { return "" }

// Dir is a state directory held by this process.
type Dir struct{}

// Open takes the state directory state/<id> below dataDir, makes it where it is
// missing (access for its owner only) with the directories in it, and locks it
// until Close or the end of the process. id is a single file name, as ID
// returns. Errors: one that is ErrLocked when another process (or an open Dir of
// this one) has it; one clear line when it cannot be written.
func Open(dataDir, id string) (*Dir, error) { return nil, errUnbuilt }

// OpenTemp makes and takes a new state directory for a mount that keeps nothing:
// Close removes it. Those left behind by processes that are gone are removed
// first.
func OpenTemp(dataDir string) (*Dir, error) { return nil, errUnbuilt }

// Path returns the state directory.
func (d *Dir) Path() string { return "" }

// Journal returns the path of the journal's database.
func (d *Dir) Journal() string { return "" }

// Cache returns the directory of the chunk cache.
func (d *Dir) Cache() string { return "" }

// Staging returns the directory of files being written. It is on the same file
// system as Cache.
func (d *Dir) Staging() string { return "" }

// Index returns the directory of the index snapshots known on this machine.
func (d *Dir) Index() string { return "" }

// Close gives the directory up, and removes it when it came from OpenTemp.
func (d *Dir) Close() error { return errUnbuilt }

// WriteFile replaces the file at path with body: a temporary file beside it,
// fsync, rename, fsync of the directory. On return it survives a power loss; a
// crash before leaves the old file. Access is for the owner only.
func WriteFile(path string, body []byte) error { return errUnbuilt }

// SyncDir makes the names in a directory survive a power loss. On Windows, which
// has no such call and logs them itself, it does nothing.
func SyncDir(path string) error { return errUnbuilt }
