package fusehost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/winfsp/cgofuse/fuse"
)

// Options of a mount.
type Options struct {
	Path  string       // where: absolute; on Windows possibly a drive, "X:", or AnyDrive
	Name  string       // of the mount: the volume's label, and in the list of mounts
	Owner fsimpl.Owner // of what is created where the system names no other: on Windows

	// AllowOther lets other users in, where /etc/fuse.conf has user_allow_other. A
	// mount of root's always does.
	AllowOther bool

	WinFsp WinFsp
	Local  Local

	Log *slog.Logger
}

// AnyDrive has Mount choose a drive that is free; Mounted.Path tells which.
const AnyDrive = "*"

// WinFsp has what can be chosen of it; on other systems nothing.
type WinFsp struct {
	// InfoTimeout is how long Windows trusts what it knows of a file; 0: a second, negative:
	// for ever. In the latter case it keeps contents, too, and writes them when it likes, so that
	// a write that fails may be told to nobody.
	InfoTimeout time.Duration
	// Threads answer requests; 0: DefaultThreads.
	Threads int
	// Spared are drives that are not chosen for AnyDrive, because other mounts are to have them.
	Spared []string
	// Links has symbolic links shown and made also where there are none yet.
	Links bool
}

// The defaults of WinFsp's options.
const (
	DefaultInfoTimeout = time.Second
	DefaultThreads     = 16
)

// ErrBusy is what errors.Is finds in the error of Unmount when programs go on using
// files of the mount.
var ErrBusy = errors.New("files are still open in other programs")

// ErrNotEmpty is what errors.Is finds in the error of CheckPath and Mount when there are files
// in the directory that is to be mounted on.
var ErrNotEmpty = errors.New("is not empty")

// ErrRunning is what errors.Is finds in the error of Unmount when an operation does not
// end, so that the file system must not be closed.
var ErrRunning = errors.New("an operation does not end")

// Mounted is a mount. Its methods may be called concurrently.
type Mounted struct {
	host     *host
	point    *mountPoint
	notifier *notifier // nil where the system is not told of changes
	done     chan struct{}
	err      error // why it ended, if not by an unmount; written before done is closed

	unmountMu sync.Mutex // serialises Unmount
	shutDown  bool       // the host is shut; guarded by unmountMu
}

// Mount mounts fs and returns when programs can use it. The mount point is made where
// it is missing, and then removed at the end; a dead mount that an earlier pocket left
// there is cleared away. An error is one line that tells the next step.
//
// The mount lasts until Unmount, or until somebody unmounts it from outside; fs may be
// closed after Done or after Unmount returned.
func Mount(fs *fsimpl.FS, o Options) (*Mounted, error) {
	if len(o.Local.Names) == 0 {
		return mount(opened{fs}, o)
	}
	l, err := newLayered(opened{fs}, o.Local.Names, func() (fileSystem, error) {
		local, err := o.Local.Open()
		if err != nil {
			return nil, err
		}
		return opened{local}, nil
	}, o.Local.Exists)
	if err != nil {
		return nil, err
	}
	return mount(l, o)
}

func mount(fs fileSystem, o Options) (*Mounted, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	point, err := prepare(o)
	if err != nil {
		return nil, err
	}
	m := &Mounted{
		host:  newHost(fs, o.Owner, o.Log),
		point: point,
		done:  make(chan struct{}),
	}
	if m.host.rules.mayLackLinks {
		m.host.links = o.WinFsp.Links || fs.HoldsLinks()
	}
	path, args, err := m.attach(o)
	if err != nil {
		return nil, errors.Join(err, point.restore())
	}
	server := fuse.NewFileSystemHost(m.host)
	server.SetCapOpenTrunc(true)
	server.SetCapReaddirPlus(m.host.rules.readdirPlus)
	m.configure(server)
	if m.host.rules.notified {
		m.notifier = startNotifier(server.Notify)
		m.host.tell = m.notifier.put
		m.host.onDestroy = m.notifier.stop // cgofuse must not be asked any more
		fs.OnMerge(m.notifier.add)
	}
	go m.serve(server, path, args)
	select {
	case <-m.host.started:
		err = m.ready()
	case <-m.done:
		err = m.err
		if err == nil {
			err = fmt.Errorf("mount %s: it ended at once", o.Path)
		}
		return nil, err
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), lastPatience)
		defer cancel()
		return nil, errors.Join(err, m.Unmount(ctx))
	}
	return m, nil
}

// serve runs the mount until it ends.
func (m *Mounted) serve(server *fuse.FileSystemHost, path string, args []string) {
	defer close(m.done)
	ok, err := run(server, path, args)
	if err == nil && !ok {
		err = errors.New("FUSE did not start it, or broke off: the lines above, if there are any, say why")
	}
	if err != nil {
		err = fmt.Errorf("mount %s: %w", m.point.path, err)
	}
	m.notifier.stop()
	m.detached()
	m.err = errors.Join(err, m.point.restore())
}

// run is the host's Mount, which panics when FUSE is missing.
func run(server *fuse.FileSystemHost, path string, args []string) (ok bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return server.Mount(path, args), nil
}

// Done is closed when the mount has ended, whoever ended it, and no callback runs
// any more.
func (m *Mounted) Done() <-chan struct{} { return m.done }

// Err returns, once Done is closed, nil when the mount ended by being unmounted,
// else what went wrong.
func (m *Mounted) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// Path returns the mount point with symbolic links resolved, or the drive.
func (m *Mounted) Path() string { return m.point.path }

// shut turns callbacks away and waits for those that run. Called with unmountMu held.
func (m *Mounted) shut() error {
	if !m.shutDown {
		m.shutDown = true
		m.host.gate.shut()
		m.host.fs.EndWaits() // as a writer does whose file was closed, for room in a full cache
	}
	select {
	case <-m.host.gate.empty:
		return nil
	case <-time.After(lastPatience):
		return fmt.Errorf("unmount %s: %w", m.point.path, ErrRunning)
	}
}

// label makes a mount's name fit for a mount option.
func label(name string) string {
	return strings.Map(func(r rune) rune {
		if r == ',' || r == '\\' || r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
}

// winFspArgs returns the options of WinFsp for a mount of the user with this SID.
func winFspArgs(sid string, o Options) []string {
	threads, timeout := cmp.Or(o.WinFsp.Threads, DefaultThreads), int64(-1)
	if o.WinFsp.InfoTimeout >= 0 {
		timeout = cmp.Or(o.WinFsp.InfoTimeout, DefaultInfoTimeout).Milliseconds()
	}
	return []string{
		// Without these an overwrite fails with "access denied".
		"-o", "uid=-1,gid=-1",
		"-o", "FileSecurity=" + ownerOnly(sid),
		"-o", "volname=" + volumeLabel(o.Name),
		"-o", "FileSystemName=pocket",
		"-o", fmt.Sprintf("FileInfoTimeout=%d", timeout),
		"-o", fmt.Sprintf("ThreadCount=%d", threads),
	}
}

// ownerOnly is the descriptor of every file: full access for the user, SYSTEM and the
// administrators, for nobody else. OpenSSH accepts private keys with it, but not with
// the well-known "owner rights".
func ownerOnly(sid string) string {
	return strings.ReplaceAll("O:SIDG:SIDD:P(A;;FA;;;SID)(A;;FA;;;SY)(A;;FA;;;BA)", "SID", sid)
}

// labelMost is how long WinFsp lets a volume's label be, in UTF-16.
const labelMost = 32

// volumeLabel is a mount's name as far as a volume can have it.
func volumeLabel(name string) string {
	units := 0
	for i, r := range label(name) {
		if units += utf16.RuneLen(r); units > labelMost {
			return label(name)[:i]
		}
	}
	return cmp.Or(label(name), "pocket")
}

// lastPatience is how long Unmount waits for callbacks that still run when nobody may
// use the mount any more, and for the end of one that is unmounted.
const lastPatience = 5 * time.Second
