// Package intake copies a directory into a mount's file system: what was at a mount path
// before, into a store.
//
//	in, err := intake.Open(options)
//	err = in.Pass(ctx, "/home/me/.ssh")                 // before it is moved aside
//	err = in.Pass(ctx, "/home/me/.ssh.pocket-original") // what changed meanwhile
//	outcome, err := in.Finish()
//
// It adds only what is not there: nothing in the store is overwritten, and nothing is
// taken from the directory. A log in the state directory says what was copied, so that an
// intake that was interrupted goes on, and what somebody has changed, renamed or deleted in the
// store since then stays as it is.
package intake

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/loroindex"
)

// Options of an intake. All are required.
type Options struct {
	FS     *fsimpl.FS
	Log    string                           // path of the log, which lives as long as the journal
	Owner  fsimpl.Owner                     // of what is made, where owners are not kept
	Tell   func(format string, args ...any) // gets a line for each file that is not taken in
	Report func(Progress)                   // is told how far it is
}

// Progress is how far an intake is.
type Progress struct {
	Files, TotalFiles int
	Bytes, TotalBytes int64
}

// Outcome is what became of the files.
type Outcome struct {
	Files   int // that were copied, in this run
	Bytes   int64
	Failed  int // that could not be read, or that the store cannot have
	Special int // sockets and the like
	Differ  int // that the store has with another content, which stays
}

// Intake is a directory that is being copied. Its methods are not called concurrently.
type Intake struct {
	o       Options
	log     *log
	outcome Outcome
	now     Progress
	passes  int
	made    map[fsimpl.Node]made // files and directories of this run
	dirs    []dir                // whose times are to be set at the end
	told    map[string]bool      // paths that were told of
	block   []byte
}

// made is a file as this run left it.
type made struct{ size, mtime int64 }

// dir is a directory of this intake's making.
type dir struct {
	node  fsimpl.Node
	mtime int64
}

// blockSize is how much is copied at once, in bytes.
const blockSize = 1 << 20

// errSource is in the errors of what is copied from; others are those of the file system
// that is copied to.
var errSource = errors.New("cannot be read")

// errLeft is in the error of a file of which a part is left in the file system that is copied to:
// the log goes on saying that it was begun.
var errLeft = errors.New("a part of it is left")

// Open begins an intake of from, or goes on with one that was interrupted. Whether the store is
// empty decides whether the root gets the directory's mode and times.
func Open(o Options, from string, empty bool) (*Intake, error) {
	l, err := openLog(o.Log, from, empty)
	if err != nil {
		return nil, err
	}
	in := &Intake{o: o, log: l, made: make(map[fsimpl.Node]made), told: make(map[string]bool), block: make([]byte, blockSize)}
	if err := in.sweep(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return in, nil
}

// besidePrefix begins the name under which a file is copied that takes the place of an earlier copy.
const besidePrefix = ".pocket-import-"

// sweep removes the files of that name that an earlier run left.
func (in *Intake) sweep() error {
	for _, names := range []map[string]bool{in.log.begun, in.log.done} {
		for rel := range names {
			dir, name := path.Split(rel)
			if !strings.HasPrefix(name, besidePrefix) {
				continue
			}
			into, err := in.o.FS.Resolve("/" + dir)
			if err == nil {
				_, err = in.o.FS.Unlink(into, name)
			}
			if err != nil && fsimpl.KindOf(err) != fsimpl.NotExist {
				return err
			}
		}
	}
	return nil
}

// Pass copies what is not there yet. After the first pass of a run it finds what has
// changed since. With an error it has not come to the end: that of ctx, or that of the
// file system, which could not take more. What was copied stays, and the next intake goes on.
func (in *Intake) Pass(ctx context.Context, from string) error {
	if in.passes++; in.passes == 1 {
		in.count(ctx, from)
	}
	in.dirs = in.dirs[:0]
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if in.log.empty {
		if err := in.o.FS.Chmod(fsimpl.Root, modeOf(info)); err != nil {
			return err
		}
		in.dirs = append(in.dirs, dir{fsimpl.Root, info.ModTime().UnixMicro()})
	}
	return in.directory(ctx, fsimpl.Root, from, "")
}

// count finds out how much there is to do, for the progress alone.
func (in *Intake) count(ctx context.Context, from string) {
	filepath.WalkDir(from, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			in.now.TotalFiles++
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				in.now.TotalBytes += info.Size()
			}
		}
		return ctx.Err()
	})
}

// directory copies the entries of the directory at path, rel below the top, into a node.
func (in *Intake) directory(ctx context.Context, into fsimpl.Node, path, rel string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		in.fail(rel, path, fmt.Errorf("%w: %w", errSource, err))
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		sub := e.Name()
		if rel != "" {
			sub = rel + "/" + sub
		}
		if err := in.entry(ctx, into, filepath.Join(path, e.Name()), e.Name(), sub); err != nil {
			return err
		}
	}
	return nil
}

// entry copies one entry. An error ends the pass.
func (in *Intake) entry(ctx context.Context, into fsimpl.Node, path, name, rel string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since the directory was read
	}
	if err != nil {
		in.fail(rel, path, fmt.Errorf("%w: %w", errSource, err))
		return nil
	}
	at, err := in.o.FS.Lookup(into, name)
	there := err == nil
	if !there && fsimpl.KindOf(err) != fsimpl.NotExist {
		return in.refused(rel, path, err)
	}
	if !there && in.log.done[rel] {
		return nil // somebody has removed it in the store since
	}
	if !there {
		if err := in.log.begin(rel, in.o.FS); err != nil {
			return err
		}
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		if there && at.Kind != loroindex.Dir {
			in.differs(rel, path)
			return nil
		}
		node, err := at.Node, error(nil)
		if !there {
			node, err = in.mkdir(into, name, info)
		}
		if err != nil {
			return in.refused(rel, path, errors.Join(err, in.log.undo(rel)))
		}
		if !there {
			in.made[node] = made{}
		}
		if _, ours := in.made[node]; ours || in.log.ours(rel) {
			in.dirs = append(in.dirs, dir{node, info.ModTime().UnixMicro()})
		}
		return in.directory(ctx, node, path, rel)
	case mode.IsRegular():
		err = in.file(ctx, into, path, name, rel, info, at, there)
	case mode&fs.ModeSymlink != 0:
		err = in.symlink(into, path, name, rel, info, at, there)
	default:
		if !in.told[rel] {
			in.told[rel] = true
			in.outcome.Special++
			in.o.Tell("%s is not taken in: it is neither a file, a directory nor a symbolic link", path)
		}
	}
	if err != nil && !there && !errors.Is(err, errLeft) {
		err = errors.Join(err, in.log.undo(rel))
	}
	if err != nil {
		return in.refused(rel, path, err)
	}
	in.progress(1, 0)
	return nil
}

// progress tells what was done in the first pass, which has nearly everything to do.
func (in *Intake) progress(files int, bytes int64) {
	if in.passes > 1 {
		return
	}
	in.now.Files = min(in.now.Files+files, in.now.TotalFiles)
	in.now.Bytes = min(in.now.Bytes+bytes, in.now.TotalBytes)
	in.o.Report(in.now)
}

// refused tells an error that is about one file, and returns one after which no other file
// can be copied either.
func (in *Intake) refused(rel, path string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if !errors.Is(err, errSource) {
		switch fsimpl.KindOf(err) {
		case fsimpl.BadName, fsimpl.NameTooLong, fsimpl.TooLarge, fsimpl.Exist, fsimpl.NotExist, fsimpl.NotDir, fsimpl.IsDir:
		default:
			return err
		}
	}
	in.fail(rel, path, err)
	return nil
}

func (in *Intake) fail(rel, path string, err error) {
	if in.told[rel] {
		return
	}
	in.told[rel] = true
	in.outcome.Failed++
	in.o.Tell("%s is not taken in: %v", path, err)
}

func (in *Intake) differs(rel, path string) {
	if in.told[rel] {
		return
	}
	in.told[rel] = true
	in.outcome.Differ++
	in.o.Tell("%s is not taken in: there is another /%s in the store already, which stays", path, rel)
}

func (in *Intake) mkdir(into fsimpl.Node, name string, info fs.FileInfo) (fsimpl.Node, error) {
	a, err := in.o.FS.Mkdir(into, name, modeOf(info), in.ownerOf(info))
	if err != nil {
		return 0, err
	}
	return a.Node, in.describe(a.Node, info, a)
}

// describe sets what a node is to have besides its content and is not made with; a is what
// it has.
func (in *Intake) describe(n fsimpl.Node, info fs.FileInfo, a fsimpl.Attr) error {
	owner, mode := in.ownerOf(info), modeOf(info)
	if info.Mode()&fs.ModeSymlink == 0 && a.Mode != mode {
		if err := in.o.FS.Chmod(n, mode); err != nil {
			return err
		}
	}
	if a.UID != owner.UID || a.GID != owner.GID {
		if err := in.o.FS.Chown(n, int64(owner.UID), int64(owner.GID)); err != nil {
			return err
		}
	}
	return in.describeMore(n, info)
}

// symlink copies a symbolic link, which is not followed.
func (in *Intake) symlink(into fsimpl.Node, path, name, rel string, info fs.FileInfo, at fsimpl.Attr, there bool) error {
	target, err := os.Readlink(path)
	if err != nil {
		return fmt.Errorf("%w: %w", errSource, err)
	}
	target, mtime := filepath.ToSlash(target), info.ModTime().UnixMicro()
	if there {
		if at.Kind != loroindex.Symlink {
			in.differs(rel, path)
			return nil
		}
		if has, err := in.o.FS.Readlink(at.Node); err != nil || has != target {
			in.differs(rel, path)
			return nil
		}
		if !in.log.begun[rel] || at.Mtime == mtime {
			return nil
		}
		// An intake that was killed has made it, and not yet set its time.
	} else if at, err = in.o.FS.Symlink(into, name, target, in.ownerOf(info)); err != nil {
		return err
	}
	in.outcome.Files++
	return errors.Join(in.describe(at.Node, info, at), in.o.FS.SetTimes(at.Node, nil, &mtime))
}

// file copies a file, unless it is there. One that takes the place of an earlier copy does so when it is whole.
func (in *Intake) file(ctx context.Context, into fsimpl.Node, path, name, rel string, info fs.FileInfo, at fsimpl.Attr, there bool) (err error) {
	size, mtime := info.Size(), info.ModTime().UnixMicro()
	if there {
		last, ours := in.made[at.Node]
		switch {
		case at.Kind != loroindex.File:
			in.differs(rel, path)
			return nil
		case at.Size == size && at.Mtime == mtime:
			in.progress(0, size)
			return nil
		case ours && last == (made{at.Size, at.Mtime}):
			// Nobody but this run has written it, and the original has changed since.
		default:
			common, whole, err := in.compare(ctx, path, at)
			switch {
			case err != nil:
				return err
			case whole && common == size && !in.log.begun[rel]:
				in.progress(0, size)
				return nil
			case !whole || !in.log.begun[rel]:
				in.differs(rel, path)
				return nil
			}
			// An intake that was killed has left the beginning of it.
		}
	}
	src, err := openSource(path)
	if err != nil {
		return fmt.Errorf("%w: %w", errSource, err)
	}
	defer src.Close()
	if info, err = src.Stat(); err != nil {
		return fmt.Errorf("%w: %w", errSource, err)
	}
	mtime = info.ModTime().UnixMicro()

	as, before := name, at
	if there {
		as = besidePrefix + rand.Text()[:8]
		beside := strings.TrimSuffix(rel, name) + as
		if err := in.log.begin(beside, in.o.FS); err != nil {
			return err
		}
		defer func() {
			if !errors.Is(err, errLeft) {
				err = errors.Join(err, in.log.undo(beside))
			}
		}()
	}
	f, at, err := in.o.FS.Create(into, as, modeOf(info), in.ownerOf(info), fsimpl.OpenWrite)
	if err != nil {
		return err
	}
	n, err := in.copy(ctx, f, src)
	if err == nil {
		err = in.describe(at.Node, info, at)
	}
	if err == nil {
		err = in.o.FS.SetTimes(at.Node, nil, &mtime) // what the commit will write
	}
	// Half a file is none. What is removed before the release is not committed by it, which
	// may fail itself: all that was written can turn out to have no room only then.
	remove := func() {
		if _, removed := in.o.FS.Unlink(into, as); removed != nil && fsimpl.KindOf(removed) != fsimpl.NotExist {
			err = fmt.Errorf("%w; %w: %w", err, errLeft, removed)
		}
	}
	if err != nil {
		remove()
	}
	if released := f.Release(); err == nil && released != nil {
		err = released
		remove()
	}
	if err == nil && there {
		now, failed := in.o.FS.Lookup(into, name)
		switch {
		case failed == nil && (now.Node != before.Node || now.Size != before.Size || now.Mtime != before.Mtime):
			in.differs(rel, path) // somebody has written it just now
			if _, err := in.o.FS.Unlink(into, as); err != nil {
				return fmt.Errorf("%w: %w", errLeft, err)
			}
			return nil
		case failed == nil:
			failed = in.o.FS.Rename(into, as, into, name, 0)
		}
		if err = failed; err != nil {
			remove()
		}
	}
	if err != nil {
		return err
	}
	in.made[at.Node] = made{n, mtime}
	in.outcome.Files++
	in.outcome.Bytes += n
	return nil
}

// copy copies what is to be read.
func (in *Intake) copy(ctx context.Context, to *fsimpl.File, from io.Reader) (n int64, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		got, err := io.ReadFull(from, in.block)
		if got > 0 {
			if _, err := to.WriteAt(in.block[:got], n); err != nil {
				return n, err
			}
			n += int64(got)
			in.progress(0, int64(got))
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return n, nil
		case err != nil:
			return n, fmt.Errorf("%w: %w", errSource, err)
		}
	}
}

// compare returns how many bytes a file of the store has in common with the file at path,
// and whether these are all that it has.
func (in *Intake) compare(ctx context.Context, path string, at fsimpl.Attr) (common int64, whole bool, err error) {
	src, err := openSource(path)
	if err != nil {
		return 0, false, fmt.Errorf("%w: %w", errSource, err)
	}
	defer src.Close()
	f, err := in.o.FS.Open(at.Node, fsimpl.OpenRead)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, f.Release()) }()
	theirs := make([]byte, blockSize)
	for common < at.Size {
		if err := ctx.Err(); err != nil {
			return common, false, err
		}
		n, err := f.ReadAt(theirs, common)
		if err != nil {
			return common, false, err
		}
		if n == 0 {
			return common, false, nil
		}
		got, err := io.ReadFull(src, in.block[:n])
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return common + int64(got), false, nil
		case err != nil:
			return common, false, fmt.Errorf("%w: %w", errSource, err)
		case !bytes.Equal(in.block[:n], theirs[:n]):
			return common, false, nil
		}
		common += int64(n)
	}
	return common, true, nil
}

// Finish sets the times of directories, notes that the intake is at its end, and tells
// what became of the files. On return all of it survives a power loss on this machine; the
// store may not have it yet.
func (in *Intake) Finish() (Outcome, error) {
	// The last first, so that no time changes afterwards.
	for i := len(in.dirs) - 1; i >= 0; i-- {
		d := in.dirs[i]
		if err := in.o.FS.SetTimes(d.node, nil, &d.mtime); err != nil && fsimpl.KindOf(err) != fsimpl.NotExist {
			return in.outcome, errors.Join(err, in.log.close())
		}
	}
	if err := in.o.FS.Persist(); err != nil {
		return in.outcome, errors.Join(err, in.log.close())
	}
	return in.outcome, in.log.end()
}

// Abandon ends an intake that goes on at the next start.
func (in *Intake) Abandon() (Outcome, error) {
	err := in.o.FS.Persist()
	if err == nil {
		err = in.log.sync()
	}
	return in.outcome, errors.Join(err, in.log.close())
}

// Summary says in a line what became of the files.
func (o Outcome) Summary() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{o.Failed, "could not be taken in"},
		{o.Special, "that are neither files, directories nor links were left out"},
		{o.Differ, "were left as the store has them"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ")
}

// syncEvery is how long what was copied may go without being noted as copied for good.
const syncEvery = time.Second
