// Package pagebuf has memory for large objects that is used again and again: it lies
// outside the collector's heap where the system permits, begins at a page, and has its pages
// already. Fresh memory costs as much as receiving what it is for, since the system
// finds and clears each page of it, and what the collector frees late counts until then.
//
// A Buffer is shared by those who hold it. Whoever gets one holds it, and must Release it
// exactly once; then the memory may have other bytes at once.
package pagebuf

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	// least is the size from which on memory is used again; smaller objects are left to
	// the collector.
	least = 256 << 10
	// most is the size of the largest memory that is kept for the next one.
	most = 64 << 20
	// spareMost bounds the bytes that are kept while nobody uses them.
	spareMost = 16 << 20
)

// Buffer is memory that is shared. Its methods may be called concurrently.
type Buffer struct {
	bytes  []byte
	memory []byte // all of it, to be used again; nil where the collector has it
	refs   atomic.Int32
}

// New returns a buffer of size bytes of any value, which the caller holds.
func New(size int) *Buffer {
	b := &Buffer{}
	b.refs.Store(1)
	if size < least || size > most {
		b.bytes = make([]byte, size)
		return b
	}
	b.memory = spare.take(bits.Len(uint(size - 1)))
	b.bytes = b.memory[:size:size]
	return b
}

// Of returns a buffer of bytes that the collector has, which the caller holds. They must not be
// changed.
func Of(body []byte) *Buffer {
	b := &Buffer{bytes: body}
	b.refs.Store(1)
	return b
}

// Bytes returns what is in the buffer, for as long as the caller holds it.
func (b *Buffer) Bytes() []byte { return b.bytes }

// Len returns how many bytes there are.
func (b *Buffer) Len() int { return len(b.bytes) }

// Held returns how many bytes of memory the buffer holds: Len or, of memory that will be used again, more.
func (b *Buffer) Held() int64 { return int64(max(len(b.memory), len(b.bytes))) }

// Held returns how many bytes of memory a new buffer of size bytes holds.
func Held(size int64) int64 {
	if size < least || size > most {
		return size
	}
	return 1 << bits.Len64(uint64(size-1))
}

// Own returns the bytes for good: a copy where the memory will be used again. The caller
// holds the buffer.
func (b *Buffer) Own() []byte {
	if b.memory == nil {
		return b.bytes
	}
	return append([]byte(nil), b.bytes...)
}

// Hold holds the buffer once more. The caller holds it already, or whoever does cannot
// release it meanwhile.
func (b *Buffer) Hold() *Buffer {
	if b.refs.Add(1) < 2 {
		panic("pagebuf: Hold of a buffer that nobody holds")
	}
	return b
}

// Release ends what New, Of or Hold began. It does not wait for the system to take memory back, which
// may take long, so that it may be called with locks held.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("pagebuf: Release of a buffer that nobody holds")
	}
	memory := b.memory
	b.bytes, b.memory = nil, nil // who reads on after Release finds nothing
	if memory != nil {
		spare.put(memory)
	}
}

// InUse returns the bytes of memory that is held by somebody and will be used again.
func InUse() int64 {
	spare.mu.Lock()
	defer spare.mu.Unlock()
	return spare.used
}

// spares has memory that nobody holds.
type spares struct {
	mu    sync.Mutex
	free  [32][][]byte // by the logarithm of their size; guarded by mu
	bytes int64        // of free; guarded by mu
	used  int64        // bytes that somebody holds; guarded by mu
}

var spare spares

// take returns 1<<class bytes.
func (s *spares) take(class int) []byte {
	s.mu.Lock()
	s.used += 1 << class
	list := s.free[class]
	if n := len(list); n > 0 {
		memory := list[n-1]
		list[n-1] = nil
		s.free[class] = list[:n-1]
		s.bytes -= int64(len(memory))
		s.mu.Unlock()
		return memory
	}
	s.mu.Unlock()
	return allocate(1 << class)
}

func (s *spares) put(memory []byte) {
	class := bits.Len(uint(len(memory) - 1))
	s.mu.Lock()
	s.used -= int64(len(memory))
	if s.bytes+int64(len(memory)) <= spareMost {
		s.free[class] = append(s.free[class], memory)
		s.bytes += int64(len(memory))
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	go giveBack(memory)
}

var giveBack = free // tests look at it
