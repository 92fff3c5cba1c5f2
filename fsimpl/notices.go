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
	lost bool   // it is a content that ErrLost is about
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
	fs.keepNotice(false, line)
}

// tellLoss is tell for content that ErrLost is about.
func (fs *FS) tellLoss(line string) {
	fs.log.Error(line)
	fs.keepNotice(true, line)
}

func (fs *FS) keepNotice(lost bool, line string) {
	fs.noticesMu.Lock()
	defer fs.noticesMu.Unlock()
	fs.notices = append(fs.notices, Notice{Time: fs.opts.Now(), Text: line, lost: lost})
}

// lostSince returns ErrLost with the last loss after the first n notices, if there is one.
func (fs *FS) lostSince(n int) error {
	fs.noticesMu.Lock()
	defer fs.noticesMu.Unlock()
	files, last := 0, ""
	for _, notice := range fs.notices[n:] {
		if notice.lost {
			files, last = files+1, notice.Text
		}
	}
	switch files {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%w: %s", ErrLost, last)
	default:
		return fmt.Errorf("%w: %d files, the last is %s", ErrLost, files, last)
	}
}
