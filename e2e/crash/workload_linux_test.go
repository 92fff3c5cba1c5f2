// Linux only: it is what that child process does.

package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/s3store"
)

// chunkSize is small, so that files of many chunks are quick to make.
const chunkSize = 64 << 10

// tree is what lies below a writer's directory: the content of files by their path,
// and directory for directories.
type tree map[string]string

const directory = "\x00directory"

// step is one change that is acknowledged by itself.
type step struct {
	op   string // mkdir, rmdir, create, commit, rename, unlink
	path string
	to   string // of rename
	// of commit:
	how  string // whole, append, patch, cut
	off  int
	body string
	sync bool // fsync instead of close
}

func (s step) String() string {
	switch s.op {
	case "commit":
		end := "close"
		if s.sync {
			end = "fsync"
		}
		return fmt.Sprintf("%s %s: %d bytes at %d, %s", s.how, s.path, len(s.body), s.off, end)
	case "rename":
		return fmt.Sprintf("rename %s to %s", s.path, s.to)
	}
	return s.op + " " + s.path
}

// apply returns the tree after the step.
func (s step) apply(t tree) tree {
	t = maps.Clone(t)
	switch s.op {
	case "mkdir":
		t[s.path] = directory
	case "rmdir", "unlink":
		delete(t, s.path)
	case "create":
		t[s.path] = ""
	case "rename":
		for p, content := range maps.Clone(t) {
			if rest, ok := strings.CutPrefix(p, s.path); ok && (rest == "" || rest[0] == '/') {
				delete(t, p)
				t[s.to+rest] = content
			}
		}
	case "commit":
		old := t[s.path]
		switch s.how {
		case "whole":
			t[s.path] = s.body
		case "append":
			t[s.path] = old + s.body
		case "cut":
			t[s.path] = old[:s.off]
		case "patch":
			b := make([]byte, max(len(old), s.off+len(s.body)))
			copy(b, old)
			copy(b[s.off:], s.body)
			t[s.path] = string(b)
		}
	}
	return t
}

// plan is the steps of one writer and the trees between them: trees[i] is before
// steps[i].
type plan struct {
	steps []step
	trees []tree
}

// planned returns the plan that follows from a seed.
func planned(seed, writer uint64, start tree, steps int) plan {
	random := rand.New(rand.NewPCG(seed, writer))
	p := plan{trees: []tree{start}}
	now := func() tree { return p.trees[len(p.trees)-1] }
	add := func(s step) {
		p.trees = append(p.trees, s.apply(now()))
		p.steps = append(p.steps, s)
	}
	pick := func(match func(content string) bool) string {
		var found []string
		for _, path := range slices.Sorted(maps.Keys(now())) {
			if match(now()[path]) {
				found = append(found, path)
			}
		}
		if len(found) == 0 {
			return ""
		}
		return found[random.IntN(len(found))]
	}
	isDir := func(content string) bool { return content == directory }
	isFile := func(content string) bool { return content != directory }
	// name returns a path in one of the directories, which need not be free.
	name := func(prefix string, n int) string {
		dir := ""
		if random.IntN(3) == 0 {
			if dir = pick(isDir); dir != "" {
				dir += "/"
			}
		}
		return fmt.Sprint(dir, prefix, random.IntN(n))
	}
	body := func() string {
		n := []int{0, 30, 900, 5000, 20_000, 65_536, 70_000, 200_000}[random.IntN(8)]
		if n > 0 {
			n += random.IntN(n)
		}
		var key [32]byte
		key[0], key[1] = byte(random.Uint32()), byte(random.Uint32())
		key[2], key[3] = byte(random.Uint32()), byte(random.Uint32())
		b := make([]byte, n)
		rand.NewChaCha8(key).Read(b)
		return string(b)
	}
	for len(p.steps) < steps {
		fsync := random.IntN(8) == 0
		switch k := random.IntN(20); {
		case k < 7: // a whole file, new or not
			path := name("f", 6)
			if content, ok := now()[path]; ok && content == directory {
				continue
			} else if !ok {
				add(step{op: "create", path: path})
			}
			add(step{op: "commit", path: path, how: "whole", body: body(), sync: fsync})
		case k < 10: // as editors save
			path := pick(isFile)
			if path == "" {
				continue
			}
			temp := path + ".tmp"
			if _, ok := now()[temp]; ok || strings.HasSuffix(path, ".tmp") {
				continue
			}
			add(step{op: "create", path: temp})
			add(step{op: "commit", path: temp, how: "whole", body: body(), sync: fsync})
			add(step{op: "rename", path: temp, to: path})
		case k < 13:
			path := pick(isFile)
			if path == "" {
				continue
			}
			old := now()[path]
			s := step{op: "commit", path: path, how: []string{"append", "patch", "cut"}[random.IntN(3)], body: body(), sync: fsync}
			if s.how != "append" {
				s.off = random.IntN(len(old) + 1)
			} else {
				s.off = len(old)
			}
			if s.how == "cut" {
				s.body = ""
			}
			if len(old) < 600_000 && s.apply(now())[path] != old {
				add(s)
			}
		case k < 15:
			from, to := pick(isFile), name("f", 6)
			if from == "" || from == to || now()[to] == directory {
				continue
			}
			add(step{op: "rename", path: from, to: to})
		case k < 17:
			if path := pick(isFile); path != "" {
				add(step{op: "unlink", path: path})
			}
		case k < 18:
			if path := name("d", 3); strings.Count(path, "/") < 2 {
				if _, ok := now()[path]; !ok {
					add(step{op: "mkdir", path: path})
				}
			}
		case k < 19:
			from, to := pick(isDir), fmt.Sprint("d", random.IntN(3))
			if _, taken := now()[to]; from != "" && !taken && !strings.HasPrefix(to+"/", from+"/") {
				add(step{op: "rename", path: from, to: to})
			}
		default:
			path := pick(isDir)
			empty := path != ""
			for p := range now() {
				empty = empty && !strings.HasPrefix(p, path+"/")
			}
			if empty {
				add(step{op: "rmdir", path: path})
			}
		}
	}
	return p
}

// orders is what the child process is told to do.
type orders struct {
	Dir       string // mount point of the disk
	Seed      uint64
	Starts    []map[string][]byte // of each writer; bytes, since contents are no text
	Fresh     bool                // the writers' directories are to be made first
	Steps     int                 // of each writer
	Rounds    int                 // the file system is closed and opened again between them
	Drain     bool                // wait for the store at the end of each round
	Sync      bool                // sync mode
	CacheSize int64
	Boot      string // the id of the machine's boot

	Endpoint, Bucket, KeyID, Secret string
}

// asBytes and asTree are for JSON.
func asBytes(t tree) map[string][]byte {
	m := make(map[string][]byte, len(t))
	for path, content := range t {
		m[path] = []byte(content)
	}
	return m
}

func asTree(m map[string][]byte) tree {
	t := make(tree, len(m))
	for path, content := range m {
		t[path] = string(content)
	}
	return t
}

func writerName(n int) string { return fmt.Sprint("w", n) }

// options are those of every file system in these tests.
func options(store objstore.Store, state *statedir.Dir, boot string, log *slog.Logger) fsimpl.Options {
	return fsimpl.Options{
		Name: "crash", Store: store, State: state, ChunkSize: chunkSize, Behind: chunkSize, CacheSize: 64 << 20, Reserve: 64 << 10, Device: "machine",
		RootMode: 0o755, Poll: -1, OpenWait: 20 * time.Second, ReadWait: 20 * time.Second, SyncDelay: 5 * time.Millisecond, Boot: boot, Log: log,
	}
}

const stateName = "mount"

// work is the child process.
func work() error {
	var o orders
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	if err := mountOn(o.Dir, 3); err != nil {
		return err
	}
	fmt.Println("mounted")
	marks, err := os.OpenFile(filepath.Join(o.Dir, marksName), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	w := &worker{orders: o, marks: marks}
	plans := make([]plan, len(o.Starts))
	for i, start := range o.Starts {
		plans[i] = planned(o.Seed, uint64(i), asTree(start), o.Steps)
	}
	for round := range o.Rounds {
		if err := w.open(); err != nil {
			return err
		}
		if o.Fresh && round == 0 {
			for i := range plans {
				if _, err := w.fs.Mkdir(fsimpl.Root, writerName(i), 0o755, fsimpl.Owner{}); err != nil {
					return err
				}
			}
		}
		w.mark("m") // from here on the directories are there
		var all sync.WaitGroup
		errs := make([]error, len(plans))
		for i, p := range plans {
			all.Go(func() {
				from, to := len(p.steps)*round/o.Rounds, len(p.steps)*(round+1)/o.Rounds
				for n, s := range p.steps[from:to] {
					if errs[i] = w.do(i, from+n, s); errs[i] != nil {
						errs[i] = fmt.Errorf("writer %d, %s: %w", i, s, errs[i])
						return
					}
				}
			})
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if err := w.end(round == o.Rounds-1); err != nil {
			return err
		}
	}
	return nil
}

type worker struct {
	orders
	fs    *fsimpl.FS
	state *statedir.Dir

	mu    sync.Mutex // guards marks and at
	marks *os.File
	at    int64
}

// mark notes a word on the disk: when it returns, the word has its place among the
// events.
func (w *worker) mark(text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.marks.WriteAt([]byte(text), w.at)
	w.at += int64(n)
	return err
}

func (w *worker) open() (err error) {
	store, err := s3store.Open(context.Background(), s3store.Config{Bucket: w.Bucket, Region: "us-east-1", Endpoint: w.Endpoint,
		Credentials: func(context.Context) (string, string, string, error) { return w.KeyID, w.Secret, "", nil }})
	if err != nil {
		return err
	}
	if w.state, err = statedir.Open(filepath.Join(w.Dir, "data"), stateName); err != nil {
		return err
	}
	o := options(store, w.state, w.orders.Boot, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	o.CacheSize = w.CacheSize
	if w.Sync {
		o.Mode = fsimpl.Sync
	}
	w.fs, err = fsimpl.Open(context.Background(), o)
	return err
}

// end ends a round: with everything in the store, or with what is left in the journal.
// The last one may just stop.
func (w *worker) end(last bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if w.Drain {
		if err := w.fs.Drain(ctx, nil); err != nil {
			return err
		}
		if err := w.mark("d"); err != nil {
			return err
		}
	} else {
		cancel()
	}
	if last && !w.Drain {
		return nil
	}
	var left *fsimpl.LeftError
	if err := w.fs.Close(ctx, nil); err != nil && !errors.As(err, &left) {
		return err
	}
	return w.state.Close()
}

// do makes one step, with its marks around it.
func (w *worker) do(writer, number int, s step) error {
	at := func(p string) string { return path.Join("/", writerName(writer), p) }
	parent := func(p string) (fsimpl.Node, string, error) {
		n, err := w.fs.Resolve(path.Dir(at(p)))
		return n, path.Base(p), err
	}
	if err := w.mark(fmt.Sprintf("b %d %d", writer, number)); err != nil {
		return err
	}
	dir, name, err := parent(s.path)
	if err != nil {
		return err
	}
	switch s.op {
	case "mkdir":
		_, err = w.fs.Mkdir(dir, name, 0o755, fsimpl.Owner{})
	case "rmdir":
		err = w.fs.Rmdir(dir, name)
	case "unlink":
		_, err = w.fs.Unlink(dir, name)
	case "rename":
		to, toName, failed := parent(s.to)
		if failed != nil {
			return failed
		}
		err = w.fs.Rename(dir, name, to, toName, 0)
	case "create":
		var f *fsimpl.File
		if f, _, err = w.fs.Create(dir, name, 0o644, fsimpl.Owner{}, fsimpl.OpenWrite); err == nil {
			err = f.Release()
		}
	case "commit":
		err = w.commit(at(s.path), s)
	}
	if err != nil {
		return err
	}
	return w.mark(fmt.Sprintf("a %d %d", writer, number))
}

func (w *worker) commit(p string, s step) error {
	n, err := w.fs.Resolve(p)
	if err != nil {
		return err
	}
	flags := fsimpl.OpenRead | fsimpl.OpenWrite
	if s.how == "whole" {
		flags |= fsimpl.OpenTruncate
	}
	f, err := w.fs.Open(n, flags)
	if err != nil {
		return err
	}
	if s.how == "cut" {
		err = f.Truncate(int64(s.off))
	}
	for off, body := int64(s.off), []byte(s.body); len(body) > 0 && err == nil; {
		piece := body[:min(len(body), 50_000)]
		_, err = f.WriteAt(piece, off)
		off, body = off+int64(len(piece)), body[len(piece):]
	}
	if err == nil && s.sync {
		err = f.Sync()
	}
	if err == nil {
		err = f.Flush()
	}
	return errors.Join(err, f.Release())
}

// treesOf reads what the writers' directories hold: nil for one that is not there.
func treesOf(fs *fsimpl.FS, writers int) ([]tree, error) {
	trees, unread, err := treesAndErrors(fs, writers)
	return trees, errors.Join(append(unread, err)...)
}

// readable is treesOf without files that cannot be read, which are counted.
func readable(fs *fsimpl.FS, writers int) (trees []tree, failed int, err error) {
	trees, unread, err := treesAndErrors(fs, writers)
	return trees, len(unread), err
}

func treesAndErrors(fs *fsimpl.FS, writers int) (trees []tree, unread []error, err error) {
	trees = make([]tree, writers)
	for i := range trees {
		n, err := fs.Lookup(fsimpl.Root, writerName(i))
		if fsimpl.KindOf(err) == fsimpl.NotExist && err != nil {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		trees[i] = make(tree)
		if err := readTree(fs, n.Node, "", trees[i], &unread); err != nil {
			return nil, nil, fmt.Errorf("writer %d: %w", i, err)
		}
	}
	return trees, unread, nil
}

func readTree(fs *fsimpl.FS, n fsimpl.Node, prefix string, into tree, unread *[]error) error {
	d, err := fs.OpenDir(n)
	if err != nil {
		return err
	}
	for i, e := range d.Entries() {
		a, err := d.Attr(i)
		if err != nil {
			return err
		}
		name := prefix + e.Name
		if a.Kind == loroindex.Dir {
			into[name] = directory
			if err := readTree(fs, e.Node, name+"/", into, unread); err != nil {
				return err
			}
			continue
		}
		f, err := fs.Open(e.Node, fsimpl.OpenRead)
		if err != nil {
			return err
		}
		var body bytes.Buffer
		_, err = io.Copy(&body, io.NewSectionReader(readerAt{f}, 0, a.Size))
		err = errors.Join(err, f.Release())
		if err == nil && int64(body.Len()) != a.Size {
			err = fmt.Errorf("%d bytes of %d", body.Len(), a.Size)
		}
		if err != nil {
			*unread = append(*unread, fmt.Errorf("%s: %w", name, err))
			continue
		}
		into[name] = body.String()
	}
	return nil
}

// readerAt is a file as io.ReaderAt wants it.
type readerAt struct{ *fsimpl.File }

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.File.ReadAt(p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// differ tells how a tree differs from what it should be, "" when it does not.
func differ(want, got tree) string {
	var lines []string
	for _, p := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[p]
		switch w := want[p]; {
		case !ok:
			lines = append(lines, fmt.Sprintf("%s (%s) is missing", p, describe(w)))
		case g != w:
			lines = append(lines, fmt.Sprintf("%s is %s, not %s", p, describe(g), describe(w)))
		}
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[p]; !ok {
			lines = append(lines, fmt.Sprintf("%s (%s) should not be there", p, describe(got[p])))
		}
	}
	return strings.Join(lines, "; ")
}

func describe(content string) string {
	if content == directory {
		return "a directory"
	}
	return fmt.Sprintf("%d bytes %x", len(content), content[:min(4, len(content))])
}
