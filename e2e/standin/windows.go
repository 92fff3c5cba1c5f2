package standin

import "sync"

// What Windows programs do, in the callbacks that WinFsp makes of it.

// Flags of files, as in the Stat of WinFsp.
const (
	ReadOnly = 0x1000
	Hidden   = 0x8000
	System   = 0x80
	Archive  = 0x800
)

// Flags of open, of Microsoft's C library.
const (
	openRead      = 0
	openReadWrite = 2
	openCreate    = 0x100
	openExcl      = 0x400
)

const (
	typeBits  = 0o170000
	directory = 0o040000
)

// File is an open handle of a file or directory. Its methods may be called concurrently.
type File struct {
	v      *Volume
	handle uint64
	dir    bool
	// path is the one it was opened by. WinFsp never changes it, and all callbacks have it.
	path string

	mu      sync.Mutex
	deletes bool // delete on close; guarded by mu
}

// parent returns the directory of a path.
func parent(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '/' {
			return path[:i]
		}
	}
	return "/"
}

// Stat is a look at a path.
func (v *Volume) Stat(path string) (Stat, error) {
	r, err := v.Call(Request{Op: Getattr, Path: path, Handle: NoHandle})
	if err != nil {
		return Stat{}, err
	}
	return parseStat(r.Data)
}

// StatHandle is a look at an open file, with the path that it was opened by.
func (v *Volume) StatHandle(path string, handle uint64) (Stat, error) {
	r, err := v.Call(Request{Op: Getattr, Path: path, Handle: handle})
	if err != nil {
		return Stat{}, err
	}
	return parseStat(r.Data)
}

// Statfs describes the volume.
func (v *Volume) Statfs() (Capacity, error) {
	r, err := v.Call(Request{Op: Statfs, Path: "/", Handle: NoHandle})
	if err != nil {
		return Capacity{}, err
	}
	return parseCapacity(r.Data)
}

// stored asks for the path's letter case, as WinFsp does after each open of a volume that
// does not tell cases apart.
func (v *Volume) stored(path string, handle uint64) (string, error) {
	r, err := v.Call(Request{Op: Getpath, Path: path, Handle: handle})
	return string(r.Data), err
}

// Create makes a new file (CREATE_NEW) and opens it.
func (v *Volume) Create(path string) (*File, error) {
	if _, err := v.Stat(parent(path)); err != nil {
		return nil, err
	}
	r, err := v.Call(Request{Op: Create, Path: path, Handle: NoHandle, Flags: openCreate | openExcl | openReadWrite, Mode: 0o777 &^ 0o022 &^ 0o111})
	if err != nil {
		return nil, err
	}
	f := &File{v: v, handle: r.Handle, path: path}
	return f, f.begin(Archive)
}

// begin is what follows the creation of a file or directory.
func (f *File) begin(flags uint32) error {
	if _, err := f.v.Call(Request{Op: Chflags, Path: f.path, Handle: f.handle, Flags: flags}); err != nil {
		return err
	}
	if _, err := f.Stat(); err != nil {
		return err
	}
	_, err := f.v.stored(f.path, f.handle)
	return err
}

// Mkdir makes a directory and closes it.
func (v *Volume) Mkdir(path string) error {
	if _, err := v.Stat(parent(path)); err != nil {
		return err
	}
	if _, err := v.Call(Request{Op: Mkdir, Path: path, Handle: NoHandle, Mode: 0o755}); err != nil {
		return err
	}
	r, err := v.Call(Request{Op: Opendir, Path: path, Handle: NoHandle})
	if err != nil {
		return err
	}
	f := &File{v: v, handle: r.Handle, path: path, dir: true}
	if err := f.begin(0); err != nil {
		return err
	}
	return f.Close()
}

// Open opens what is there (OPEN_EXISTING), a file for reading, or for attributes, another
// name or deletion.
func (v *Volume) Open(path string) (*File, error) { return v.open(path, openRead) }

// OpenWrite is Open for reading and writing.
func (v *Volume) OpenWrite(path string) (*File, error) { return v.open(path, openReadWrite) }

func (v *Volume) open(path string, access uint32) (*File, error) {
	s, err := v.Stat(path)
	if err != nil {
		return nil, err
	}
	if s, err = v.Stat(path); err != nil {
		return nil, err
	}
	f := &File{v: v, path: path, dir: s.Mode&typeBits == directory}
	q := Request{Op: Open, Path: path, Handle: NoHandle, Flags: access}
	if f.dir {
		q.Op, q.Flags = Opendir, openRead
	}
	r, err := v.Call(q)
	if err != nil {
		return nil, err
	}
	f.handle = r.Handle
	_, err = v.stored(path, f.handle)
	return f, err
}

// Overwrite opens what is there and empties it (CREATE_ALWAYS over a file), with new
// flags.
func (v *Volume) Overwrite(path string, flags uint32) (*File, error) {
	f, err := v.OpenWrite(path)
	if err != nil {
		return nil, err
	}
	if _, err := v.Call(Request{Op: Truncate, Path: path, Handle: f.handle}); err != nil {
		return nil, err
	}
	if _, err := v.Call(Request{Op: Chflags, Path: path, Handle: f.handle, Flags: flags}); err != nil {
		return nil, err
	}
	_, err = f.Stat()
	return f, err
}

// StoredPath returns the path in the letter case it was created with.
func (f *File) StoredPath() (string, error) { return f.v.stored(f.path, f.handle) }

// Handle returns the program's number of the open file.
func (f *File) Handle() uint64 { return f.handle }

// Stat is a look at an open file, by its handle.
func (f *File) Stat() (Stat, error) {
	if f.dir {
		return f.v.Stat(f.path)
	}
	return f.v.StatHandle(f.path, f.handle)
}

// Write writes at an offset, or at the end when it is negative: FILE_WRITE_TO_END_OF_FILE.
func (f *File) Write(p []byte, offset int64) error {
	s, err := f.Stat()
	if err != nil {
		return err
	}
	if offset < 0 {
		offset = s.Size
	}
	r, err := f.v.Call(Request{Op: Write, Path: f.path, Handle: f.handle, Offset: offset, Data: p})
	if err == nil && int(r.Result) != len(p) {
		return EIO
	}
	return err
}

// Read reads up to size bytes.
func (f *File) Read(size int, offset int64) ([]byte, error) {
	r, err := f.v.Call(Request{Op: Read, Path: f.path, Handle: f.handle, Offset: offset, Size: uint32(size)})
	return r.Data, err
}

// SetEnd changes the size.
func (f *File) SetEnd(size int64) error {
	if _, err := f.Stat(); err != nil {
		return err
	}
	_, err := f.v.Call(Request{Op: Truncate, Path: f.path, Handle: f.handle, Offset: size})
	return err
}

// Flush is FlushFileBuffers.
func (f *File) Flush() error {
	if _, err := f.v.Call(Request{Op: Fsync, Path: f.path, Handle: f.handle}); err != nil {
		return err
	}
	_, err := f.Stat()
	return err
}

// Basic is what SetFileInformationByHandle with FileBasicInfo changes; nil leaves it.
type Basic struct {
	Flags                               *uint32
	Created, Accessed, Written, Changed *Time
}

// SetBasic changes flags and times. The callbacks carry the path that the file was opened
// by, whatever it is called by now.
func (f *File) SetBasic(b Basic) error {
	if b.Flags != nil {
		if _, err := f.v.Call(Request{Op: Chflags, Path: f.path, Handle: NoHandle, Flags: *b.Flags}); err != nil {
			return err
		}
	}
	if b.Accessed != nil || b.Written != nil {
		s, err := f.Stat() // for the one that is left
		if err != nil {
			return err
		}
		times := [2]Time{s.Atime, s.Mtime}
		if b.Accessed != nil {
			times[0] = *b.Accessed
		}
		if b.Written != nil {
			times[1] = *b.Written
		}
		if _, err := f.v.Call(Request{Op: Utimens, Path: f.path, Handle: NoHandle, Times: times}); err != nil {
			return err
		}
	}
	if b.Created != nil {
		if _, err := f.v.Call(Request{Op: Setcrtime, Path: f.path, Handle: NoHandle, Times: [2]Time{*b.Created}}); err != nil {
			return err
		}
	}
	if b.Changed != nil {
		if _, err := f.v.Call(Request{Op: Setchgtime, Path: f.path, Handle: NoHandle, Times: [2]Time{*b.Changed}}); err != nil {
			return err
		}
	}
	_, err := f.Stat()
	return err
}

// SetFlags is SetBasic with flags alone.
func (f *File) SetFlags(flags uint32) error { return f.SetBasic(Basic{Flags: &flags}) }

// Rename renames the file by its handle; with replace over what is there.
func (f *File) Rename(to string, replace bool) error {
	if s, err := f.v.Stat(to); err == nil {
		self, err := f.Stat()
		if err != nil {
			return err
		}
		if !replace && s.Ino != self.Ino {
			return EEXIST
		}
		if _, err := f.v.Stat(to); err != nil {
			return err
		}
	}
	_, err := f.v.Call(Request{Op: Rename, Path: f.path, Second: to, Handle: NoHandle})
	return err
}

// Delete removes the file: by POSIX semantics, WinFsp's default, its name goes at once and
// the handle goes on.
func (f *File) Delete() error {
	if !f.dir {
		_, err := f.v.Call(Request{Op: Unlink, Path: f.path, Handle: NoHandle})
		return err
	}
	if entries, err := f.List(); err != nil {
		return err
	} else if len(entries) > 0 {
		return ENOTEMPTY
	}
	_, err := f.v.Call(Request{Op: Rmdir, Path: f.path, Handle: NoHandle})
	return err
}

// DeleteOnClose makes Close remove the file: FILE_FLAG_DELETE_ON_CLOSE.
func (f *File) DeleteOnClose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deletes = true
}

// List returns the entries of a directory without "." and "..".
func (f *File) List() ([]Entry, error) {
	r, err := f.v.Call(Request{Op: Readdir, Path: f.path, Handle: f.handle})
	if err != nil {
		return nil, err
	}
	entries, err := parseEntries(r.Data)
	if err != nil {
		return nil, err
	}
	names := entries[:0]
	for _, e := range entries {
		if e.Name != "." && e.Name != ".." {
			names = append(names, e)
		}
	}
	return names, nil
}

// Close closes the handle. What unlink, flush and release return is thrown away, as
// WinFsp does.
func (f *File) Close() error {
	f.mu.Lock()
	deletes := f.deletes
	f.mu.Unlock()
	if f.dir {
		if deletes {
			f.Delete()
		}
		_, err := f.v.Call(Request{Op: Releasedir, Path: f.path, Handle: f.handle})
		return err
	}
	if deletes {
		f.v.Call(Request{Op: Unlink, Path: f.path, Handle: NoHandle})
	}
	f.v.Call(Request{Op: Flush, Path: f.path, Handle: f.handle})
	_, err := f.v.Call(Request{Op: Release, Path: f.path, Handle: f.handle})
	return err
}
