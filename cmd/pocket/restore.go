package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hamflx/pocket/cmd/pocket/internal/session"
	"github.com/hamflx/pocket/fsimpl/fusehost"
	"github.com/hamflx/pocket/internal/aside"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/statedir"
)

const usageRestore = `pocket restore moves back what was at a mount path before pocket mounted something there.

Usage:
    pocket restore [options]

Options:
    --mount NAME|PATH    only what was at this mount's path; also when pocket has no record
                         of it and its name alone tells
    --config FILE        the configuration that names the mounts
    -h, --help           print this text

A directory with files in it that is at a mount path is called NAME.pocket-original
while pocket is mounted there. Pocket moves it back when the mount ends, and after a
crash at its next start. This does the same without mounting anything. What was made
at the path meanwhile is kept beside it, under a name that is told. Nothing is deleted.

Example:
    $ pocket restore
    pocket: moved /home/me/.ssh.pocket-original back to /home/me/.ssh

Exit codes:
    0  all is back where it was
    1  something could not be moved back: it is mounted, or two directories are there
    2  wrong usage or configuration
    3  nothing is moved aside
`

// restore is the command of that name.
func restore(args []string, _ io.Reader, stdout, stderr io.Writer, env config.Env) int {
	a := newAsker("restore", stdout, stderr, env)
	a.flags.StringVar(&a.mount, "mount", "", "")
	if code := a.parse(args, usageRestore); code >= 0 {
		return code
	}
	dataDir, err := statedir.DataDir()
	if err != nil {
		a.say("%v", err)
		return exitFailed
	}
	o := session.Options{DataDir: dataDir, Log: slog.New(slog.DiscardHandler)}.AsideOptions()
	records, err := aside.Records(o)
	code := exitClean
	if err != nil {
		a.sayEach(err)
		code = exitFailed
	}
	// Mounts of the configuration have names, and may have an original without a record.
	var mounts []config.Mount
	switch cfg, err := config.Load(a.config, env); {
	case err == nil:
		mounts = cfg.Mounts
	case a.config != "":
		a.sayEach(err)
		return exitUsage
	}
	path := a.mount
	for _, m := range mounts {
		if a.mount != "" && strings.EqualFold(m.Name, a.mount) { // case tells no names apart
			path = m.Path
		}
	}
	if path != "" {
		if path, err = filepath.Abs(path); err != nil {
			a.say("%v", err)
			return exitFailed
		}
		path = fusehost.Real(path)
	}

	found := false
	for _, r := range records {
		if a.mount != "" && !strings.EqualFold(r.Name, a.mount) && !r.At(path) {
			continue
		}
		found = true
		if !a.restored(o, r) {
			code = exitFailed
		}
	}
	switch {
	case a.mount != "" && !found:
		if _, err := os.Lstat(aside.Of(path)); err != nil {
			break
		}
		found = true
		if err := aside.Adopt(o, path); err != nil {
			a.say("%v", err)
			code = exitFailed
		} else {
			a.say("moved %s back to %s", aside.Of(path), path)
		}
	case a.mount == "":
		for _, m := range mounts {
			path := fusehost.Real(m.Path)
			known := slices.ContainsFunc(records, func(r aside.Record) bool { return r.At(path) })
			if _, err := os.Lstat(aside.Of(path)); err != nil || known {
				continue
			}
			found, code = true, exitFailed
			a.say("%s is there, and there is no record of it: if it is what was at %s, pocket restore --mount %s brings it back", aside.Of(path), path, m.Name)
		}
	}
	if found || code != exitClean {
		return code
	}
	if a.mount != "" {
		a.say("nothing of %s is moved aside", a.mount)
	} else {
		a.say("nothing is moved aside")
	}
	return exitNothing
}

// restored moves one directory back, says so, and reports whether it is back.
func (a *asker) restored(o aside.Options, r aside.Record) bool {
	notes, err := aside.Restore(o, r)
	for _, note := range notes {
		a.say("%s", note)
	}
	switch {
	case errors.Is(err, statedir.ErrLocked):
		a.say("%s: %s is mounted by a pocket that runs%s: what was there comes back when it ends: pocket stop", r.Name, r.Path, holder(err))
		return false
	case err != nil:
		a.say("%s: %s", r.Name, strings.ReplaceAll(err.Error(), "\n", "; "))
		return false
	}
	a.say("moved %s back to %s", r.Aside, r.Path)
	return true
}

// holder names the process that has something locked.
func holder(err error) string {
	var locked *statedir.LockedError
	if errors.As(err, &locked) && locked.PID != 0 {
		return fmt.Sprintf(" (process %d)", locked.PID)
	}
	return ""
}

// stranded tells of the directories that are moved aside though nothing that is running mounts at their paths.
func stranded(running []control.Status) (lines []string) {
	dataDir, err := statedir.DataDir()
	if err != nil {
		return nil
	}
	records, err := aside.Records(aside.Options{DataDir: dataDir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	for _, r := range records {
		mounted := slices.ContainsFunc(running, func(s control.Status) bool {
			return slices.ContainsFunc(s.Mounts, func(m control.Mount) bool { return m.Path == r.Mount })
		})
		if _, err := os.Lstat(r.Aside); err == nil && !mounted {
			lines = append(lines, fmt.Sprintf("what was at %s is still called %s: pocket restore moves it back, and so does the next start of pocket", r.Path, r.Aside))
		}
	}
	return lines
}

// restoreOthers moves back what earlier processes left aside at paths that are not mounted
// now. What belongs to a mount is brought back when that is started.
func (r *runner) restoreOthers(o aside.Options, mounts []config.Mount) {
	records, err := aside.Records(o)
	if err != nil {
		r.sayMistakes(err)
	}
	ours := make(map[string]bool)
	for _, m := range mounts {
		ours[m.Path], ours[fusehost.Real(m.Path)] = true, true
	}
	for _, record := range records {
		if ours[record.Path] || ours[record.Mount] {
			continue
		}
		notes, err := aside.Restore(o, record)
		for _, note := range notes {
			r.say("%s: %s", record.Name, note)
		}
		switch {
		case errors.Is(err, statedir.ErrLocked): // by a pocket that runs
		case err != nil:
			r.say("%s: %s", record.Name, strings.ReplaceAll(err.Error(), "\n", "; "))
		default:
			r.say("%s: moved %s, which an earlier pocket had left, back to %s", record.Name, record.Aside, record.Path)
		}
	}
}
