package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// ProgressOptions of a Progress. The zero value writes for a file or a pipe.
type ProgressOptions struct {
	Terminal bool             // rewrite one line in place
	Width    func() int       // columns of the terminal, asked for every line; nil or 0 means 80
	Now      func() time.Time // nil means time.Now
	Interval time.Duration    // least time between two lines; 0 means 100ms on a terminal, 10s elsewhere
}

// State is how far a work has come.
type State struct {
	Verb       string // "uploading"
	Unit       string // "files"
	Done       int    // how many of them
	Total      int
	DoneBytes  int64
	TotalBytes int64 // 0 when the work is not counted in bytes
}

// Progress shows one State after another: on a terminal in a line that is rewritten,
// elsewhere in a plain line now and then. It runs nothing on its own; whoever works calls
// Set as often as is convenient. Its methods may be called concurrently. What the writer
// answers is not looked at: a work does not end because nobody watches.
type Progress struct {
	w io.Writer
	o ProgressOptions

	mu      sync.Mutex // guards all below; held while w is written
	state   State
	begun   bool
	written time.Time // when the line was last written
	shown   State     // what it said
	live    bool      // a line is on the terminal that can be rewritten
	columns int       // what it takes there
	samples []sample  // of the last rateWindow, oldest first
}

// sample is how much was done at a time.
type sample struct {
	at   time.Time
	done float64
}

// rateWindow is the time over which the speed is measured: long enough to even out single
// files, short enough to follow a network that changes.
const rateWindow = 20 * time.Second

// NewProgress returns a Progress that writes to w.
func NewProgress(w io.Writer, o ProgressOptions) *Progress {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Interval == 0 {
		o.Interval = 10 * time.Second
		if o.Terminal {
			o.Interval = 100 * time.Millisecond
		}
	}
	return &Progress{w: w, o: o}
}

// Set says how far the work has come. It writes when enough time has passed since the last
// line and, elsewhere than on a terminal, when something has changed.
func (p *Progress) Set(s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.o.Now()
	p.state = s
	p.sample(now)
	if p.begun && (now.Sub(p.written) < p.o.Interval || !p.o.Terminal && s == p.shown) {
		return
	}
	p.write(now)
}

// Print writes a line of its own, above the progress line.
func (p *Progress) Print(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.live {
		io.WriteString(p.w, line+"\n")
		return
	}
	p.rewrite(line)
	io.WriteString(p.w, "\n")
	p.columns = 0
	p.write(p.o.Now())
}

// Finish ends the progress with a last line; with the last State when line is empty. Set
// may be called again and begins anew.
func (p *Progress) Finish(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if line == "" && p.begun && (p.live || p.state != p.shown) {
		line = p.text(time.Time{})
	}
	if line != "" {
		p.rewrite(line)
	}
	if line != "" || p.live {
		io.WriteString(p.w, "\n")
	}
	p.begun, p.live, p.columns, p.samples = false, false, 0, p.samples[:0]
}

// write shows the state. mu is held.
func (p *Progress) write(now time.Time) {
	p.begun, p.written, p.shown = true, now, p.state
	if !p.o.Terminal {
		io.WriteString(p.w, p.text(now)+"\n")
		return
	}
	p.rewrite(p.line(now))
}

// rewrite puts a line in the place of the one that is there. mu is held.
func (p *Progress) rewrite(line string) {
	if !p.o.Terminal {
		io.WriteString(p.w, line)
		return
	}
	columns := Columns(line)
	erase := strings.Repeat(" ", max(0, p.columns-columns))
	io.WriteString(p.w, "\r"+line+erase)
	p.live, p.columns = true, columns
}

// line returns the state as wide as the terminal allows. The last column stays free: some
// consoles go on to the next line when it is written. mu is held.
func (p *Progress) line(now time.Time) string {
	width := 0
	if p.o.Width != nil {
		width = p.o.Width()
	}
	if width <= 0 {
		width = 80
	}
	width--
	const bar = 20
	text := p.text(now)
	if Columns(text)+bar+3 <= width {
		return p.bar(bar) + " " + text
	}
	if Columns(text) > width {
		text = p.counts()
	}
	return Truncate(text, width)
}

// text returns the state in words: uploading 12 of 40 files, 3.2 of 9.1 MiB, 00:12 left.
// mu is held.
func (p *Progress) text(now time.Time) string {
	text := p.counts()
	if p.state.TotalBytes > 0 {
		text += ", " + SizeOf(p.state.DoneBytes, p.state.TotalBytes)
	}
	if left, ok := p.left(now); ok {
		text += ", " + Clock(left) + " left"
	}
	return text
}

func (p *Progress) counts() string {
	total := fmt.Sprint(p.state.Total)
	return fmt.Sprintf("%s %*d of %s %s", p.state.Verb, len(total), p.state.Done, total, p.state.Unit)
}

// bar draws how much is done.
func (p *Progress) bar(width int) string {
	done, total := p.amounts()
	n := width
	if total > 0 {
		n = min(width, max(0, int(done/total*float64(width))))
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-n) + "]"
}

// amounts returns what is done and what there is: bytes when they are counted.
func (p *Progress) amounts() (done, total float64) {
	if p.state.TotalBytes > 0 {
		return float64(p.state.DoneBytes), float64(p.state.TotalBytes)
	}
	return float64(p.state.Done), float64(p.state.Total)
}

// sample remembers the state for the speed. mu is held.
func (p *Progress) sample(now time.Time) {
	done, _ := p.amounts()
	if n := len(p.samples); n > 0 {
		if p.samples[n-1].done > done {
			p.samples = p.samples[:0] // something else began
		} else if now.Sub(p.samples[n-1].at) < rateWindow/50 {
			return
		}
	}
	p.samples = append(p.samples, sample{now, done})
	old := 0
	for old < len(p.samples)-2 && now.Sub(p.samples[old+1].at) >= rateWindow {
		old++
	}
	p.samples = append(p.samples[:0], p.samples[old:]...)
}

// left estimates the time that is still needed; false as long as there is no telling. mu
// is held.
func (p *Progress) left(now time.Time) (time.Duration, bool) {
	done, total := p.amounts()
	if len(p.samples) == 0 || now.IsZero() || done >= total {
		return 0, false
	}
	first := p.samples[0]
	took := now.Sub(first.at)
	if took < time.Second || done <= first.done {
		return 0, false
	}
	seconds := (total - done) * took.Seconds() / (done - first.done)
	if seconds > 99*3600 {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
