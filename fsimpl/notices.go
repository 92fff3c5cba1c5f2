package fsimpl

import (
	"errors"
	"fmt"
	"time"
)

// ErrLost is the error of [FS.DrainPending] when something that was to be uploaded was damaged on this machine
// before it was. The files have an earlier content, or cannot be read; a notice tells of each.
var ErrLost = errors.New("not all that was pending could be uploaded")

// Notice is something that happened and that the user may want to know.
type Notice struct {
	Time time.Time
	Text string // one line
}

// Notices returns lines for the user: about how the mount was opened, and what it could not keep since.
func (fs *FS) Notices() []string {
	fs.noticesMu.Lock()
	defer fs.noticesMu.Unlock()
	lines := make([]string, len(fs.notices))
	for i, n := range fs.notices {
		lines[i] = n.Text
	}
	return lines
}

// tell keeps a line for the user, and the log has it too.
func (fs *FS) tell(line string) {
	fs.log.Error(line)
	fs.keepNotice(line)
}

func (fs *FS) keepNotice(line string) {
	fs.noticesMu.Lock()
	defer fs.noticesMu.Unlock()
	fs.notices = append(fs.notices, Notice{fs.opts.Now(), line})
}

// tellLoss is tell for content that ErrLost is about.
func (fs *FS) tellLoss(line string) {
	fs.tell(line)
	fs.noticesMu.Lock()
	defer fs.noticesMu.Unlock()
	fs.losses = append(fs.losses, line)
}

func (fs *FS) lossCount() int {
	fs.noticesMu.Lock()
	defer fs.noticesMu.Unlock()
	return len(fs.losses)
}

// lostSince returns ErrLost with the last loss after the first n, if there is one.
func (fs *FS) lostSince(n int) error {
	fs.noticesMu.Lock()
	defer fs.noticesMu.Unlock()
	switch lost := fs.losses[n:]; len(lost) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%w: %s", ErrLost, lost[0])
	default:
		return fmt.Errorf("%w: %d files, the last is %s", ErrLost, len(lost), lost[len(lost)-1])
	}
}
