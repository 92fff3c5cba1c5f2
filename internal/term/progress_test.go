package term

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// screen is what a terminal shows of the output: the lines above and the one in work.
type screen struct {
	lines []string
	line  []rune
	at    int
	raw   strings.Builder
}

func (s *screen) Write(b []byte) (int, error) {
	s.raw.Write(b)
	for _, r := range string(b) {
		switch r {
		case '\r':
			s.at = 0
		case '\n':
			s.lines = append(s.lines, strings.TrimRight(string(s.line), " "))
			s.line, s.at = nil, 0
		default:
			if s.at == len(s.line) {
				s.line = append(s.line, 0)
			}
			s.line[s.at] = r
			s.at++
			if columnsOf(r) == 2 {
				if s.at == len(s.line) {
					s.line = append(s.line, 0)
				}
				s.line[s.at] = 0 // the other half
				s.at++
			}
		}
	}
	return len(b), nil
}

func (s *screen) current() string {
	return strings.TrimRight(strings.ReplaceAll(string(s.line), "\x00", ""), " ")
}

// clock is a time that passes when it is told to.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time         { return c.now }
func (c *clock) pass(d time.Duration)   { c.now = c.now.Add(d) }
func newClock() *clock                  { return &clock{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }
func width(n int) func() int            { return func() int { return n } }
func files(done int, bytes int64) State { return State{"uploading", "files", done, 40, bytes, 9542041} }

func TestProgressRewritesOneLine(t *testing.T) {
	s, c := &screen{}, newClock()
	p := NewProgress(s, ProgressOptions{Terminal: true, Width: width(120), Now: c.Now})
	p.Set(files(0, 0))
	require.Equal(t, "[....................] uploading  0 of 40 files, 0.0 of 9.1 MiB", s.current())
	c.pass(6 * time.Second)
	p.Set(files(12, 3355443))
	require.Equal(t, "[#######.............] uploading 12 of 40 files, 3.2 of 9.1 MiB, 00:11 left", s.current())
	c.pass(11 * time.Second)
	p.Set(files(40, 9542041))
	require.Equal(t, "[####################] uploading 40 of 40 files, 9.1 of 9.1 MiB", s.current())
	require.Empty(t, s.lines)
	p.Finish("all 40 files are in the bucket")
	require.Equal(t, []string{"all 40 files are in the bucket"}, s.lines)
	require.NotContains(t, s.raw.String(), "\x1b")
}

func TestProgressWritesNoMoreOftenThanItsInterval(t *testing.T) {
	s, c := &screen{}, newClock()
	p := NewProgress(s, ProgressOptions{Terminal: true, Now: c.Now})
	for i := range 1000 {
		p.Set(files(i/25, int64(i)))
		c.pass(time.Millisecond)
	}
	require.Equal(t, 10, strings.Count(s.raw.String(), "\r"))
	p.Finish("")
	require.Equal(t, []string{"uploading 39 of 40 files, 0.0 of 9.1 MiB"}, s.lines, "the last state is shown, whenever it came")
}

func TestProgressFitsTheTerminal(t *testing.T) {
	for columns := range 130 {
		s, c := &screen{}, newClock()
		p := NewProgress(s, ProgressOptions{Terminal: true, Width: width(columns), Now: c.Now})
		for i := range 5 {
			c.pass(3 * time.Second)
			p.Set(files(8*i, int64(i)<<20))
			limit := columns - 1
			if columns == 0 {
				limit = 79 // not known
			}
			require.LessOrEqual(t, len(s.line), limit)
		}
		if columns > 30 {
			require.Contains(t, s.current(), "uploading 32 of 40 files")
		}
	}
}

func TestProgressPrintsAboveTheLine(t *testing.T) {
	s, c := &screen{}, newClock()
	p := NewProgress(s, ProgressOptions{Terminal: true, Width: width(50), Now: c.Now})
	p.Print("before it begins")
	p.Set(files(1, 5))
	p.Print("warning")
	require.Equal(t, []string{"before it begins", "warning"}, s.lines)
	require.Equal(t, "uploading  1 of 40 files, 0.0 of 9.1 MiB", s.current())
	p.Finish("")
	require.Equal(t, "uploading  1 of 40 files, 0.0 of 9.1 MiB", s.lines[2])
	require.Len(t, s.lines, 3)
	p.Finish("")
	require.Len(t, s.lines, 3, "nothing to finish")
}

func TestProgressElsewhereIsSparsePlainLines(t *testing.T) {
	s, c := &screen{}, newClock()
	p := NewProgress(s, ProgressOptions{Now: c.Now})
	for i := range 41 {
		p.Set(files(i, int64(i)*9542041/40))
		c.pass(time.Second)
	}
	for range 100 {
		p.Set(files(40, 9542041)) // nothing changes any more
		c.pass(time.Second)
	}
	p.Print("a warning")
	p.Finish("")
	require.Equal(t, []string{
		"uploading  0 of 40 files, 0.0 of 9.1 MiB",
		"uploading 10 of 40 files, 2.3 of 9.1 MiB, 00:30 left",
		"uploading 20 of 40 files, 4.5 of 9.1 MiB, 00:20 left",
		"uploading 30 of 40 files, 6.8 of 9.1 MiB, 00:10 left",
		"uploading 40 of 40 files, 9.1 of 9.1 MiB",
		"a warning",
	}, s.lines)
	require.NotContains(t, s.raw.String(), "\r")

	p.Set(files(1, 1))
	p.Set(files(2, 2))
	p.Finish("")
	require.Equal(t, "uploading  2 of 40 files, 0.0 of 9.1 MiB", s.lines[len(s.lines)-1], "the last state is not lost")
}

func TestProgressTimeLeftFollowsTheRecentSpeed(t *testing.T) {
	c := newClock()
	p := NewProgress(&screen{}, ProgressOptions{Terminal: true, Now: c.Now})
	left := func() string {
		d, ok := p.left(c.now)
		if !ok {
			return "unknown"
		}
		return Clock(d)
	}
	at := func(done int) { p.Set(State{Verb: "v", Unit: "u", Done: done, Total: 10000}) }
	at(0)
	require.Equal(t, "unknown", left())
	for i := 1; i <= 60; i++ { // one a second
		c.pass(time.Second)
		at(i)
	}
	require.Equal(t, "2:45:40", left())
	for i := 1; i <= 60; i++ { // then a hundred a second
		c.pass(time.Second)
		at(60 + 100*i)
	}
	require.Equal(t, "00:39", left())
	for range 60 { // then none
		c.pass(time.Second)
		at(6060)
	}
	require.Equal(t, "unknown", left())
	at(5) // something else
	require.Equal(t, "unknown", left())
	require.LessOrEqual(t, len(p.samples), 60, "samples are bounded")
}

func TestProgressWithoutBytes(t *testing.T) {
	s, c := &screen{}, newClock()
	p := NewProgress(s, ProgressOptions{Terminal: true, Width: width(100), Now: c.Now})
	p.Set(State{Verb: "checking", Unit: "objects", Done: 5, Total: 10})
	require.Equal(t, "[##########..........] checking  5 of 10 objects", s.current())
	c.pass(time.Second)
	p.Set(State{Verb: "checking", Unit: "objects"})
	require.Equal(t, "[####################] checking 0 of 0 objects", s.current())
	for i := range 3 {
		c.pass(time.Second)
		p.Set(State{Verb: "checking", Unit: fmt.Sprint("日本", i), Done: 11, Total: 10})
	}
	require.Equal(t, "[####################] checking 11 of 10 日本2", s.current())
}
