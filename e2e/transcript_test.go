//go:build linux || windows

package e2e

import (
	"strings"
	"sync"
	"time"
)

// transcript is what a process has written, line by line, for those who wait for a
// line. The zero value is ready. A carriage return ends a line, too: progress bars
// use it.
type transcript struct {
	mu      sync.Mutex
	all     []byte        // guarded by mu
	closed  bool          // guarded by mu: nothing more comes
	changed chan struct{} // guarded by mu: closed on the next change
}

func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.all = append(tr.all, p...)
	tr.wake()
	return len(p), nil
}

// close tells those who wait that nothing more comes.
func (tr *transcript) close() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.closed = true
	tr.wake()
}

func (tr *transcript) wake() {
	if tr.changed != nil {
		close(tr.changed)
		tr.changed = nil
	}
}

// text returns everything written.
func (tr *transcript) text() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return string(tr.all)
}

// lines returns the lines written, without the last when it is not complete and
// more may come.
func (tr *transcript) lines() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.split()
}

func (tr *transcript) split() []string {
	text := string(tr.all)
	if !tr.closed {
		text = text[:strings.LastIndexAny(text, "\r\n")+1]
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
}

// wait returns the first line that matches, of those written and those to come. It
// reports false when none did until nothing more came, or until the time was over.
func (tr *transcript) wait(timeout time.Duration, match func(line string) bool) (string, bool) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for seen := 0; ; {
		tr.mu.Lock()
		lines, closed := tr.split(), tr.closed
		if tr.changed == nil {
			tr.changed = make(chan struct{})
		}
		changed := tr.changed
		tr.mu.Unlock()
		for ; seen < len(lines); seen++ {
			if match(lines[seen]) {
				return lines[seen], true
			}
		}
		if closed {
			return "", false
		}
		select {
		case <-changed:
		case <-timer.C:
			return "", false
		}
	}
}
