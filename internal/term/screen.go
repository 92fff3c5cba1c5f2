package term

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Screen is a terminal taken over as a whole, to show one picture after another in
// place. Its methods are called from one goroutine.
type Screen struct {
	out     io.Writer
	restore []func()
	keys    chan byte
	resized chan struct{}
	done    chan struct{} // closed by Close
	once    sync.Once
}

const (
	screenOn  = "\x1b[?1049h\x1b[?25l" // the alternate screen, without a cursor
	screenOff = "\x1b[?25h\x1b[?1049l"
	// resizeCheck is how often the size is looked at: not every system tells of a change.
	resizeCheck = 200 * time.Millisecond
)

// OpenScreen takes over the terminal that out is, and the keyboard when in is a terminal.
// Close gives both back.
func OpenScreen(out io.Writer, in io.Reader) (*Screen, error) {
	if !IsTerminal(out) {
		return nil, errors.New("the output is no terminal")
	}
	s := &Screen{out: out, keys: make(chan byte), resized: make(chan struct{}, 1), done: make(chan struct{})}
	undo, err := allowEscapes(out.(file).Fd())
	if err != nil {
		return nil, fmt.Errorf("this console cannot show pictures in place: %w", err)
	}
	s.restore = append(s.restore, undo)
	if IsTerminal(in) {
		fd := int(in.(file).Fd())
		before, err := term.MakeRaw(fd)
		if err != nil {
			undo()
			return nil, fmt.Errorf("read single keys: %w", err)
		}
		s.restore = append(s.restore, func() { term.Restore(fd, before) })
		go s.read(in)
	}
	if _, err := io.WriteString(out, screenOn); err != nil {
		s.undo()
		return nil, err
	}
	go s.lookAtSize()
	return s, nil
}

// read hands out keys, until the keyboard is gone or nobody wants them: then the one
// that is pressed next is lost, as it cannot be given back.
func (s *Screen) read(in io.Reader) {
	defer close(s.keys)
	b := make([]byte, 1)
	for {
		if n, err := in.Read(b); n == 0 || err != nil {
			return
		}
		select {
		case s.keys <- b[0]:
		case <-s.done:
			return
		}
	}
}

func (s *Screen) lookAtSize() {
	tick := time.NewTicker(resizeCheck)
	defer tick.Stop()
	width, height := s.Size()
	for {
		select {
		case <-tick.C:
		case <-s.done:
			return
		}
		if w, h := s.Size(); w != width || h != height {
			width, height = w, h
			select {
			case s.resized <- struct{}{}:
			default:
			}
		}
	}
}

// Size returns the columns and lines of the terminal; 80 and 24 when it does not tell.
func (s *Screen) Size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.(file).Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// Keys yields the keys that are pressed; Ctrl-C is 3. It is closed when the keyboard is
// gone, and yields nothing when there is none.
func (s *Screen) Keys() <-chan byte { return s.keys }

// Resized yields something after the size has changed.
func (s *Screen) Resized() <-chan struct{} { return s.resized }

// Show shows lines, which may end in a line feed and hold colours, in place of those
// shown before, in one write and without clearing in between: nothing flickers. What does not fit is
// not shown, which the last line says.
func (s *Screen) Show(lines []string) error {
	width, height := s.Size()
	_, err := io.WriteString(s.out, picture(lines, width, height))
	return err
}

// picture returns what shows lines on a terminal.
func picture(lines []string, width, height int) string {
	if len(lines) > height {
		more := fmt.Sprintf("... %d more lines, which this terminal is too low for", len(lines)-height+1)
		lines = append(append([]string(nil), lines[:height-1]...), more)
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(cut(strings.TrimRight(line, "\r\n"), width))
		b.WriteString("\x1b[K")
	}
	b.WriteString("\x1b[J")
	return b.String()
}

// cut returns a line with colours cut to width columns.
func cut(line string, width int) string {
	var b strings.Builder
	columns := 0
	for i := 0; i < len(line); {
		if strings.HasPrefix(line[i:], "\x1b[") {
			if end := strings.IndexByte(line[i:], 'm'); end > 0 {
				b.WriteString(line[i : i+end+1])
				i += end + 1
				continue
			}
		}
		r, n := utf8.DecodeRuneInString(line[i:])
		if columns += columnsOf(r); columns > width {
			return b.String() + "\x1b[0m"
		}
		b.WriteString(line[i : i+n])
		i += n
	}
	return b.String()
}

// Close gives the terminal back as it was.
func (s *Screen) Close() {
	s.once.Do(func() {
		close(s.done)
		io.WriteString(s.out, screenOff)
		s.undo()
	})
}

func (s *Screen) undo() {
	for i := len(s.restore) - 1; i >= 0; i-- {
		s.restore[i]()
	}
}
