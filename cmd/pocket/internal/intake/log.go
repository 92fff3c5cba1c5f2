package intake

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/atomicfile"
)

// log is the file that says what an intake has copied, a line each:
//
//	pocket import 1
//	from "/home/me/.ssh"
//	empty                  the store was
//	+ "config"             is being copied: made, whole, or in part
//	- "config"             was not: it could not be read, or was removed in part
//	sync                   all before survives a power loss
//	end                    there is nothing left to copy
//
// A name that is before the last sync was copied. One that is after it may be there in part,
// or not at all; what is there in part was not changed by anybody else if it is the
// beginning of the original.
type log struct {
	path   string
	file   *os.File
	synced time.Time
	empty  bool
	ended  bool
	from   string
	done   map[string]bool // before the last sync, by an earlier run
	begun  map[string]bool // after it, by an earlier run
}

const logHead = "pocket import 1"

// ours reports whether an earlier run has made what is at a path.
func (l *log) ours(rel string) bool { return l.done[rel] || l.begun[rel] }

// readLog reads the log of an earlier run; nil when there is none. A line that a power loss
// tore says nothing: what it was about was not made yet.
func readLog(path string) (*log, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what was taken in before: %w", err)
	}
	defer f.Close()
	l := &log{path: path, done: make(map[string]bool), begun: make(map[string]bool)}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		line := lines.Text()
		key, value, _ := strings.Cut(line, " ")
		switch {
		case n == 0:
			if line != logHead {
				return nil, fmt.Errorf("%s was written by another version of pocket: remove it to take everything in anew", path)
			}
		case key == "from":
			l.from, _ = strconv.Unquote(value)
		case key == "empty":
			l.empty = true
		case key == "+":
			if rel, err := strconv.Unquote(value); err == nil {
				l.begun[rel] = true
			}
		case key == "-":
			if rel, err := strconv.Unquote(value); err == nil {
				delete(l.begun, rel)
				delete(l.done, rel)
			}
		case key == "sync":
			for rel := range l.begun {
				l.done[rel] = true
			}
			clear(l.begun)
		case key == "end":
			l.ended = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("what was taken in before: %s: %w", path, err)
	}
	return l, nil
}

// State reports whether an intake of a directory was begun, and whether it has come to its
// end.
func State(path, from string) (begun, ended bool, err error) {
	l, err := readLog(path)
	if l == nil || l.from != from {
		return false, false, err
	}
	return true, l.ended, err
}

// openLog goes on with the log of an earlier run that did not come to its end, or begins
// a new one.
func openLog(path, from string, empty bool) (*log, error) {
	l, err := readLog(path)
	if err != nil {
		return nil, err
	}
	if l == nil || l.ended || l.from != from {
		l = &log{path: path, from: from, empty: empty}
		head := fmt.Sprintf("%s\nfrom %q\n", logHead, from)
		if empty {
			head += "empty\n"
		}
		if err := atomicfile.Write(path, []byte(head), 0o600); err != nil {
			return nil, err
		}
	}
	l.synced = time.Now()
	l.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil && len(l.begun) > 0 {
		_, err = l.file.WriteString("\n") // behind a line that was torn, perhaps
	}
	if err != nil {
		return nil, fmt.Errorf("note what is taken in: %w", err)
	}
	return l, nil
}

// begin notes that something is about to be made. Now and then it first makes sure that what
// was made before is kept.
func (l *log) begin(rel string, f *fsimpl.FS) error {
	line := fmt.Sprintf("+ %q\n", rel)
	if time.Since(l.synced) > syncEvery {
		if err := f.Persist(); err != nil {
			return err
		}
		l.synced = time.Now()
		line = "sync\n" + line
	}
	return l.write(line)
}

func (l *log) write(line string) error {
	if _, err := l.file.WriteString(line); err != nil {
		return fmt.Errorf("note what is taken in: %s: %w", filepath.Base(l.path), err)
	}
	return nil
}

// undo takes back begin.
func (l *log) undo(rel string) error { return l.write(fmt.Sprintf("- %q\n", rel)) }

// sync notes that what was made survives a power loss, as it does.
func (l *log) sync() error { return l.write("sync\n") }

// end notes that everything was copied.
func (l *log) end() error {
	_, err := l.file.WriteString("sync\nend\n")
	if err == nil {
		err = l.file.Sync()
	}
	return errors.Join(err, l.close())
}

func (l *log) close() error { return l.file.Close() }
