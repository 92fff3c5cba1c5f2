package standin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The protocol is described in dll/winfsp.c.
const (
	tokenSize  = 32
	calls      = 8
	stringMost = 32 << 10
	// DataMost is how many bytes one read or write may have.
	DataMost = 1 << 20
	listMost = 64 << 20
	statSize = 160
	// patience is how long a connection may take to say what it is.
	patience = 10 * time.Second

	kindControl = 1
	kindCalls   = 2

	messageReady  = 1
	messageBegun  = 2
	messageNotify = 3
	messageEnd    = 4
)

// NoHandle is the handle of a call that goes by the path.
const NoHandle = ^uint64(0)

// Op is a callback.
type Op uint32

// The callbacks, by their numbers in dll/winfsp.c.
const (
	Getattr Op = iota + 1
	Readlink
	Mknod
	Mkdir
	Unlink
	Rmdir
	Symlink
	Rename
	Link
	Chmod
	Chown
	Truncate
	Open
	Read
	Write
	Statfs
	Flush
	Release
	Fsync
	Getxattr
	Opendir
	Readdir
	Releasedir
	Fsyncdir
	Create
	Utimens
	Getpath
	Setchgtime
	Setcrtime
	Chflags
)

var opNames = [...]string{"", "getattr", "readlink", "mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "chmod",
	"chown", "truncate", "open", "read", "write", "statfs", "flush", "release", "fsync", "getxattr", "opendir", "readdir",
	"releasedir", "fsyncdir", "create", "utimens", "getpath", "setchgtime", "setcrtime", "chflags"}

func (op Op) String() string {
	if int(op) < len(opNames) {
		return opNames[op]
	}
	return fmt.Sprint("callback ", uint32(op))
}

// Errno is an error number of Microsoft's C library, as callbacks return it, positive.
type Errno int

// Those that file systems return.
const (
	EPERM        Errno = 1
	ENOENT       Errno = 2
	EIO          Errno = 5
	EBADF        Errno = 9
	EACCES       Errno = 13
	EBUSY        Errno = 16
	EEXIST       Errno = 17
	ENOTDIR      Errno = 20
	EISDIR       Errno = 21
	EINVAL       Errno = 22
	EFBIG        Errno = 27
	ENOSPC       Errno = 28
	EROFS        Errno = 30
	ENAMETOOLONG Errno = 38
	ENOSYS       Errno = 40
	ENOTEMPTY    Errno = 41
	EILSEQ       Errno = 42
	ETIMEDOUT    Errno = 138
)

func (e Errno) Error() string { return fmt.Sprintf("error %d of Microsoft's C library", int(e)) }

// Listener waits for mounts of programs on this machine.
type Listener struct {
	l     net.Listener
	token string

	mu     sync.Mutex
	mounts map[uint32]*Volume // those that are not ready; guarded by mu
	last   uint32             // guarded by mu
	ready  chan *Volume
}

// Listen listens on the loopback interface.
func Listen() (*Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	token := make([]byte, tokenSize/2)
	rand.Read(token)
	s := &Listener{l: l, token: hex.EncodeToString(token), mounts: map[uint32]*Volume{}, ready: make(chan *Volume, 64)}
	go s.serve()
	return s, nil
}

// Env is the variable by which the DLL finds this listener, "NAME=VALUE".
func (s *Listener) Env() string {
	return fmt.Sprintf("POCKET_STANDIN=%d %s", s.l.Addr().(*net.TCPAddr).Port, s.token)
}

// Close ends listening. Volumes that were accepted go on.
func (s *Listener) Close() error { return s.l.Close() }

// Accept returns the next volume that is to be mounted: see [Volume.Begin].
func (s *Listener) Accept(ctx context.Context) (*Volume, error) {
	select {
	case v := <-s.ready:
		return v, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nothing was mounted: %w", ctx.Err())
	}
}

func (s *Listener) serve() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		go func() {
			if err := s.greet(c); err != nil {
				c.Close()
			}
		}()
	}
}

// greet finds out what a connection is for. When it returns an error the connection
// is of no use.
func (s *Listener) greet(c net.Conn) error {
	c.SetDeadline(time.Now().Add(patience))
	var head [tokenSize + 8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(head[:tokenSize], []byte(s.token)) != 1 {
		return errors.New("a stranger")
	}
	kind, mount := binary.LittleEndian.Uint32(head[tokenSize:]), binary.LittleEndian.Uint32(head[tokenSize+4:])
	switch kind {
	case kindControl:
		return s.control(c)
	case kindCalls:
		s.mu.Lock()
		v := s.mounts[mount]
		s.mu.Unlock()
		if v == nil {
			return errors.New("no such mount")
		}
		c.SetDeadline(time.Time{})
		select {
		case v.free <- c:
			v.mu.Lock()
			v.calls = append(v.calls, c)
			v.mu.Unlock()
			return nil
		default:
			return errors.New("too many connections")
		}
	}
	return errors.New("no such kind of connection")
}

// control begins a mount and reads its messages until it ends.
func (s *Listener) control(c net.Conn) error {
	v := &Volume{control: c, free: make(chan net.Conn, calls), Notices: make(chan Notice, 1024),
		begun: make(chan struct{}), wanted: make(chan struct{}), done: make(chan struct{})}
	var err error
	if v.Path, err = readString(c); err != nil {
		return err
	}
	if v.Options, err = readString(c); err != nil {
		return err
	}
	s.mu.Lock()
	s.last++
	number := s.last
	s.mounts[number] = v
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.mounts, number)
		s.mu.Unlock()
	}()
	if _, err := c.Write(binary.LittleEndian.AppendUint32(nil, number)); err != nil {
		return err
	}
	c.SetDeadline(time.Time{}) // init is the program's, and may take its time
	defer v.over()
	var begun, wanted sync.Once
	defer wanted.Do(func() { close(v.wanted) })
	for {
		var head [8]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		text, err := readString(c)
		if err != nil {
			return err
		}
		value := binary.LittleEndian.Uint32(head[4:])
		switch binary.LittleEndian.Uint32(head[:]) {
		case messageReady:
			select {
			case s.ready <- v:
			default:
				return errors.New("nobody takes the mounts")
			}
		case messageBegun:
			v.Capabilities = value
			begun.Do(func() { close(v.begun) })
		case messageNotify:
			select {
			case v.Notices <- Notice{Action: value, Path: text}:
			default: // nobody looks
			}
		case messageEnd:
			wanted.Do(func() { close(v.wanted) })
		default:
			return errors.New("no such message")
		}
	}
}

func readString(r io.Reader) (string, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return "", err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > stringMost {
		return "", fmt.Errorf("a string of %d bytes", n)
	}
	text := make([]byte, n)
	_, err := io.ReadFull(r, text)
	return string(text), err
}

// Notice is a change that the program told the system about: a FUSE notification of
// WinFsp, with its action bits.
type Notice struct {
	Action uint32
	Path   string
}

// Volume is what a program has mounted. Its methods may be called concurrently.
type Volume struct {
	Path         string      // the mount point as the program gave it
	Options      string      // all -o options, separated by commas
	Capabilities uint32      // those that init asked for; from Begin on
	Notices      chan Notice // the latest 1024 that nobody took

	control net.Conn
	free    chan net.Conn  // connections on which no call runs
	begun   chan struct{}  // closed when init has returned
	wanted  chan struct{}  // closed when the program wants to end the mount
	done    chan struct{}  // closed when the mount has ended, or the program is gone
	ended   sync.Once      // for End
	mounted sync.WaitGroup // has one while it is a Linux mount

	mu     sync.Mutex
	calls  []net.Conn // all for calls; guarded by mu
	ending bool       // End was called; guarded by mu
}

// Begin lets the program initialise the file system, after which it takes calls, and waits
// for that. The program believes that the mount can be seen then.
func (v *Volume) Begin(ctx context.Context) error {
	if _, err := v.control.Write([]byte{1, 0, 0, 0}); err != nil {
		return err
	}
	select {
	case <-v.begun:
		return nil
	case <-v.done:
		return errors.New("the program gave the mount up")
	case <-ctx.Done():
		return fmt.Errorf("the file system is not initialised: %w", ctx.Err())
	}
}

// Wanted is closed when the program wants the mount to end, as at Ctrl-C; who serves the
// volume then calls End.
func (v *Volume) Wanted() <-chan struct{} { return v.wanted }

// Done is closed when the mount has ended, by End or with the program.
func (v *Volume) Done() <-chan struct{} { return v.done }

// End tells the program that nothing more will be asked, and that the mount is over. Calls
// that run are finished, later ones fail.
func (v *Volume) End() {
	v.mu.Lock()
	v.ending = true
	v.mu.Unlock()
	v.control.Close()
	v.ended.Do(func() { go v.closeCalls() })
}

// Abandon ends the volume of a program that is known to be gone: Wine 8's server may keep
// those connections of a killed process open on which a read was under way.
func (v *Volume) Abandon() { v.control.Close() }

// over notes that the control connection has ended. A program that is gone answers no call
// any more.
func (v *Volume) over() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.done)
	if v.ending {
		return
	}
	for _, c := range v.calls {
		c.Close()
	}
}

// closeCalls closes the connections for calls, as they become free.
func (v *Volume) closeCalls() {
	for range calls {
		(<-v.free).Close()
	}
}

// Request is one callback: the fields of a request in dll/winfsp.c.
type Request struct {
	Op           Op
	Flags, Mode  uint32
	UID, GID     uint32
	Size         uint32 // bytes that a read asks for
	Handle       uint64
	Offset       int64
	Times        [2]Time
	Path, Second string
	Data         []byte
}

// Reply is what a callback returned.
type Reply struct {
	Result int32 // an error number where negative
	Handle uint64
	Data   []byte
}

// Time is a time as WinFsp passes it, since 1970.
type Time struct{ Sec, Nsec int64 }

const requestSize, replySize = 24 + 16 + 32 + 12, 20

// Call makes one callback and returns an Errno where the program did, and EIO when it
// ended before it answered. Result has what read and write returned.
func (v *Volume) Call(q Request) (Reply, error) {
	if len(q.Path) > stringMost || len(q.Second) > stringMost || len(q.Data) > DataMost || q.Size > DataMost {
		return Reply{}, ENAMETOOLONG
	}
	select {
	case <-v.done:
		return Reply{}, EIO
	default:
	}
	var c net.Conn
	select {
	case c = <-v.free:
	case <-v.done:
		return Reply{}, EIO
	}
	r, err := exchange(c, q)
	v.free <- c // also a broken one: End counts them
	if err != nil {
		return Reply{}, EIO
	}
	if r.Result < 0 {
		return r, Errno(-r.Result)
	}
	return r, nil
}

func exchange(c net.Conn, q Request) (r Reply, err error) {
	le := binary.LittleEndian
	head := make([]byte, 0, requestSize+len(q.Path)+len(q.Second))
	for _, n := range []uint32{uint32(q.Op), q.Flags, q.Mode, q.UID, q.GID, q.Size} {
		head = le.AppendUint32(head, n)
	}
	for _, n := range []uint64{q.Handle, uint64(q.Offset), uint64(q.Times[0].Sec), uint64(q.Times[0].Nsec), uint64(q.Times[1].Sec), uint64(q.Times[1].Nsec)} {
		head = le.AppendUint64(head, n)
	}
	for _, n := range []int{len(q.Path), len(q.Second), len(q.Data)} {
		head = le.AppendUint32(head, uint32(n))
	}
	head = append(append(head, q.Path...), q.Second...)
	buffers := net.Buffers{head, q.Data}
	if _, err := buffers.WriteTo(c); err != nil {
		return r, err
	}
	var answer [replySize]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return r, err
	}
	r.Result, r.Handle = int32(le.Uint32(answer[:])), le.Uint64(answer[8:])
	size := le.Uint32(answer[16:])
	if size > listMost {
		return r, fmt.Errorf("a reply of %d bytes", size)
	}
	r.Data = make([]byte, size)
	_, err = io.ReadFull(c, r.Data)
	return r, err
}

// Stat describes a file: fuse_stat_ex of WinFsp.
type Stat struct {
	Ino                        uint64
	Mode                       uint32
	Nlink, UID, GID            uint32
	Size, Blocks               int64
	Atime, Mtime, Ctime, Btime Time
	Flags                      uint32
}

func parseStat(b []byte) (s Stat, err error) {
	if len(b) < statSize {
		return s, fmt.Errorf("a stat of %d bytes: %w", len(b), EIO)
	}
	le := binary.LittleEndian
	at := func(off int) Time { return Time{int64(le.Uint64(b[off:])), int64(le.Uint64(b[off+8:]))} }
	return Stat{
		Ino: le.Uint64(b[8:]), Mode: le.Uint32(b[16:]), Nlink: uint32(le.Uint16(b[20:])),
		UID: le.Uint32(b[24:]), GID: le.Uint32(b[28:]), Size: int64(le.Uint64(b[40:])), Blocks: int64(le.Uint64(b[104:])),
		Atime: at(48), Mtime: at(64), Ctime: at(80), Btime: at(112), Flags: le.Uint32(b[128:]),
	}, nil
}

// Entry is a name in a directory, with its stat where the program gives one.
type Entry struct {
	Name string
	Stat *Stat
}

func parseEntries(b []byte) (entries []Entry, err error) {
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, EIO
		}
		n, has := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]) != 0
		b = b[8:]
		if uint64(n) > uint64(len(b)) {
			return nil, EIO
		}
		e := Entry{Name: string(b[:n])}
		b = b[n:]
		if has {
			s, err := parseStat(b)
			if err != nil {
				return nil, err
			}
			e.Stat = &s
			b = b[statSize:]
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Capacity is of a volume: fuse_statvfs of WinFsp.
type Capacity struct {
	BlockSize, FragmentSize, Blocks, Free, Available, Files, FreeFiles, NameMost uint64
}

func parseCapacity(b []byte) (Capacity, error) {
	if len(b) < 11*8 {
		return Capacity{}, EIO
	}
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return Capacity{n(0), n(1), n(2), n(3), n(4), n(5), n(6), n(10)}, nil
}
