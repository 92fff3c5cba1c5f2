// Package staging holds what was written to files and is not committed yet.
//
// A File stands for one file with uncommitted writes. Its bytes are kept a slot
// at a time, a slot being one chunk-sized, chunk-aligned part of the file: the
// first bytes of a slot stay in memory, more go to a slot file in the staging
// folder. A slot that was written from end to end becomes a chunk without being
// copied: Complete hands out its bytes, or its slot file and SHA-256, ready to be
// renamed into the cache.
//
// Nothing here is durable: a file's writes are acknowledged as durable only by the
// commit that follows (docs/state.md). Open therefore removes what an earlier
// process left behind.
package staging

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/objectid"
)

const (
	// slotMemory is how many bytes of a slot stay in memory before it gets a
	// file: most files people keep are smaller, and then no slot file is made.
	slotMemory = 256 << 10
	// areaMemory bounds the memory of all slots of one Area; beyond it every
	// slot goes to its file.
	areaMemory = 32 << 20
)

// Area is the staging folder of one mount. Its methods may be called concurrently.
type Area struct {
	dir       string
	chunkSize int64
	serial    atomic.Uint64
	memory    atomic.Int64 // bytes held by slots in memory
}

// Open makes dir the staging folder for chunks of chunkSize bytes and removes
// what an earlier process left in it. The caller holds the state directory's lock.
func Open(dir string, chunkSize int64) (*Area, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("staging folder: %w", err)
	}
	leftovers, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("staging folder: %w", err)
	}
	for _, e := range leftovers {
		if err := busyfile.Remove(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("staging folder: removing what an earlier run left: %w", err)
		}
	}
	return &Area{dir: dir, chunkSize: chunkSize}, nil
}

// NewFile returns a File without bytes. It costs nothing until it is written to.
func (a *Area) NewFile() *File { return &File{area: a} }

// File holds the uncommitted bytes of one file. Reads (Overlay, Covers, Ranges,
// Slots, Empty) may run concurrently with each other; everything else excludes
// all other calls: the caller's lock sees to it.
type File struct {
	area  *Area
	slots map[int64]*slot // by offset / chunk size
}

// slot is one chunk-aligned part of a File. Offsets in it count from its start.
type slot struct {
	ranges rangeSet
	memory []byte   // the bytes, while path is ""; as long as the highest range needs
	path   string   // of the slot file, which is sparse; "" while in memory
	file   *os.File // path, open; nil until it is needed again after Complete closed it
	// digest has hashed the first hashed bytes of the slot as they were written in
	// order, so that a slot written sequentially needs no second reading; nil
	// once a write went back.
	digest hash.Hash
	hashed int64
}

// Empty reports whether f holds no bytes.
func (f *File) Empty() bool { return len(f.slots) == 0 }

// Slots returns the number of slots that hold bytes.
func (f *File) Slots() int { return len(f.slots) }

// WriteAt takes p as the file's bytes at off. It calls completed with the number of
// each slot that is now written from end to end, so that the caller can take it
// with Complete. On an error (disk full) nothing outside [off, off+len(p)) changed
// and the range keeps what it had or has the new bytes.
func (f *File) WriteAt(p []byte, off int64, completed func(slot int64) error) error {
	for len(p) > 0 {
		n, in := off/f.area.chunkSize, off%f.area.chunkSize
		part := p[:min(int64(len(p)), f.area.chunkSize-in)]
		s := f.slots[n]
		if s == nil {
			if f.slots == nil {
				f.slots = make(map[int64]*slot)
			}
			s = &slot{digest: sha256.New()}
			f.slots[n] = s
		}
		if err := f.area.write(s, part, in); err != nil {
			if len(s.ranges) == 0 {
				f.Drop(n)
			}
			return err
		}
		if s.ranges.covers(Range{0, f.area.chunkSize}) {
			if err := completed(n); err != nil {
				return err
			}
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	return nil
}

func (a *Area) write(s *slot, p []byte, off int64) error {
	end := off + int64(len(p))
	if s.path == "" && (end > slotMemory || a.memory.Load() > areaMemory) {
		if err := a.spill(s); err != nil {
			return err
		}
	}
	if s.path != "" {
		if err := s.open(); err != nil {
			return err
		}
		if _, err := s.file.WriteAt(p, off); err != nil {
			s.digest = nil // a part of p may have been written
			return fmt.Errorf("staging file: %w", err)
		}
	} else {
		if grow := end - int64(len(s.memory)); grow > 0 {
			had := cap(s.memory)
			s.memory = slices.Grow(s.memory, int(grow))[:end]
			a.memory.Add(int64(cap(s.memory) - had))
		}
		copy(s.memory[off:], p)
	}
	switch {
	case s.digest == nil:
	case off == s.hashed:
		s.digest.Write(p)
		s.hashed = end
	case off < s.hashed:
		s.digest = nil
	}
	s.ranges = s.ranges.add(Range{off, end})
	return nil
}

// spill moves a slot from memory to a slot file.
func (a *Area) spill(s *slot) error {
	file, err := a.create()
	if err != nil {
		return err
	}
	for _, r := range s.ranges {
		if _, err := file.WriteAt(s.memory[r.From:r.To], r.From); err != nil {
			return errors.Join(fmt.Errorf("staging file: %w", err), file.Close(), os.Remove(file.Name()))
		}
	}
	a.memory.Add(-int64(cap(s.memory)))
	s.memory, s.path, s.file = nil, file.Name(), file
	return nil
}

// create makes an empty file.
func (a *Area) create() (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(a.dir, strconv.FormatUint(a.serial.Add(1), 10)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("staging file: %w", err)
	}
	return file, nil
}

// open opens the slot file unless it is open.
func (s *slot) open() (err error) {
	if s.file == nil {
		if s.file, err = busyfile.OpenFile(s.path, os.O_RDWR, 0); err != nil {
			return fmt.Errorf("staging file: %w", err)
		}
	}
	return nil
}

// Overlay copies over p, which stands for the file's bytes at off, every byte that
// f holds of that range.
func (f *File) Overlay(p []byte, off int64) error {
	for len(p) > 0 && len(f.slots) > 0 {
		n, in := off/f.area.chunkSize, off%f.area.chunkSize
		part := p[:min(int64(len(p)), f.area.chunkSize-in)]
		if s := f.slots[n]; s != nil {
			err := s.ranges.overlap(Range{in, in + int64(len(part))}, func(r Range) error {
				return s.read(part[r.From-in:r.To-in], r.From)
			})
			if err != nil {
				return err
			}
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	return nil
}

func (s *slot) read(p []byte, off int64) error {
	if s.path == "" {
		copy(p, s.memory[off:])
		return nil
	}
	file := s.file
	if file == nil { // and other reads run beside this one
		var err error
		if file, err = busyfile.Open(s.path); err != nil {
			return fmt.Errorf("staging file: %w", err)
		}
		defer file.Close() // only read
	}
	if _, err := file.ReadAt(p, off); err != nil {
		return fmt.Errorf("staging file: %w", err)
	}
	return nil
}

// Covers reports whether f holds every byte of r.
func (f *File) Covers(r Range) bool {
	for from := r.From; from < r.To; {
		n := from / f.area.chunkSize
		start := n * f.area.chunkSize
		to := min(r.To, start+f.area.chunkSize)
		s := f.slots[n]
		if s == nil || !s.ranges.covers(Range{from - start, to - start}) {
			return false
		}
		from = to
	}
	return true
}

// Ranges returns what f holds as ascending ranges of the file, split at the
// borders of slots.
func (f *File) Ranges() []Range {
	numbers := make([]int64, 0, len(f.slots))
	for n := range f.slots {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var all []Range
	for _, n := range numbers {
		start := n * f.area.chunkSize
		for _, r := range f.slots[n].ranges {
			all = append(all, Range{start + r.From, start + r.To})
		}
	}
	return all
}

// Chunk is the content of a slot that was written from its start without a gap:
// either Body, or the file at Path, which the caller renames or removes.
type Chunk struct {
	ID   objectid.ID
	Size int64
	Body []byte
	Path string
}

// Remove removes the file of a chunk that its owner cannot keep. Open removes one that stays behind.
func (c Chunk) Remove() {
	if c.Path != "" {
		_ = os.Remove(c.Path)
	}
}

// Complete takes the slot with number n out of f as a chunk of size bytes, all of
// which f must hold (Covers). The caller owns the result. After an error f has the slot still.
func (f *File) Complete(n, size int64) (Chunk, error) {
	s := f.slots[n]
	if s == nil || !s.ranges.covers(Range{0, size}) {
		return Chunk{}, fmt.Errorf("staging: slot %d does not hold its first %d bytes", n, size)
	}
	if s.path != "" {
		if err := s.open(); err != nil {
			return Chunk{}, err
		}
	}
	c := Chunk{Size: size, Path: s.path}
	if s.digest != nil && s.hashed == size {
		s.digest.Sum(c.ID[:0])
	} else if s.file != nil {
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(s.file, 0, size)); err != nil {
			return Chunk{}, fmt.Errorf("staging file: %w", err)
		}
		h.Sum(c.ID[:0])
		s.digest, s.hashed = h, size
	} else {
		c.ID = objectid.Of(s.memory[:size])
	}
	if s.file == nil {
		c.Body = s.memory[:size]
		f.area.memory.Add(-int64(cap(s.memory)))
		delete(f.slots, n)
		return c, nil
	}
	if err := s.file.Truncate(size); err != nil {
		return Chunk{}, fmt.Errorf("staging file: %w", err)
	}
	file := s.file
	s.file = nil
	if err := closeFile(file); err != nil {
		return Chunk{}, fmt.Errorf("staging file: %w", err)
	}
	delete(f.slots, n)
	return c, nil
}

// Split returns the first size bytes of the slot with number n as two chunks, cut at byte at. The caller owns
// both. f must hold the bytes (Covers), and has the slot still.
func (f *File) Split(n, at, size int64) (first, rest Chunk, err error) {
	s := f.slots[n]
	if s == nil || !s.ranges.covers(Range{0, size}) {
		return first, rest, fmt.Errorf("staging: slot %d does not hold its first %d bytes", n, size)
	}
	first = Chunk{Size: at, Body: make([]byte, at)}
	if err := s.read(first.Body, 0); err != nil {
		return first, rest, err
	}
	first.ID = objectid.Of(first.Body)
	rest.Size = size - at
	if s.path == "" {
		rest.Body = slices.Clone(s.memory[at:size])
		rest.ID = objectid.Of(rest.Body)
		return first, rest, nil
	}
	if err := s.open(); err != nil {
		return first, rest, err
	}
	file, err := f.area.create()
	if err != nil {
		return first, rest, err
	}
	digest := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, digest), io.NewSectionReader(s.file, at, rest.Size))
	if err := errors.Join(err, file.Close()); err != nil {
		return first, rest, errors.Join(fmt.Errorf("staging file: %w", err), os.Remove(file.Name()))
	}
	digest.Sum(rest.ID[:0])
	rest.Path = file.Name()
	return first, rest, nil
}

// closeFile closes a slot file; tests let it fail.
var closeFile = (*os.File).Close

// Restore gives back what Complete took, for a caller that could not keep it. A slot file
// is opened when it is needed, so that too many open files lose nothing.
func (f *File) Restore(n int64, c Chunk) {
	f.area.memory.Add(int64(cap(c.Body)))
	f.slots[n] = &slot{ranges: rangeSet{{0, c.Size}}, memory: c.Body, path: c.Path}
}

// Truncate drops every byte at or above size.
func (f *File) Truncate(size int64) {
	for n, s := range f.slots {
		start := n * f.area.chunkSize
		if start+f.area.chunkSize <= size {
			continue
		}
		s.ranges = s.ranges.truncate(max(size-start, 0))
		if len(s.ranges) == 0 {
			f.Drop(n)
			continue
		}
		if s.hashed > size-start {
			s.digest = nil
		}
	}
}

// Drop forgets the slot with number n.
func (f *File) Drop(n int64) {
	s := f.slots[n]
	if s == nil {
		return
	}
	delete(f.slots, n)
	if s.path == "" {
		f.area.memory.Add(-int64(cap(s.memory)))
		return
	}
	// The bytes are not wanted any more and Open removes what stays behind, so
	// neither failure can lose anything.
	if s.file != nil {
		_ = s.file.Close()
	}
	_ = os.Remove(s.path)
}

// Discard forgets everything that f holds.
func (f *File) Discard() {
	for n := range f.slots {
		f.Drop(n)
	}
}
