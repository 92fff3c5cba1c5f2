package loroindex

import "unsafe"

// arena keeps names in chunks of bytes, so that a million of them are a few
// hundred allocations without a pointer each. A name is a chunk and an offset,
// 32 bits together. Bytes are never changed once written: strings handed out
// keep their chunk alive and stay what they were, also after a compaction.
type arena struct {
	chunks [][]byte
	size   int // bytes in use by live names and waste
	waste  int // bytes of names dropped
}

const arenaChunk = 1 << 16

// nameRef is where in the arena a name begins.
type nameRef uint32

func (a *arena) add(s string) nameRef {
	last := len(a.chunks) - 1
	if last < 0 || cap(a.chunks[last])-len(a.chunks[last]) < len(s) {
		a.chunks = append(a.chunks, make([]byte, 0, arenaChunk))
		last++
	}
	c := a.chunks[last]
	ref := nameRef(last<<16 | len(c))
	a.chunks[last] = append(c, s...)
	a.size += len(s)
	return ref
}

func (a *arena) at(ref nameRef, n uint8) string {
	if n == 0 {
		return ""
	}
	// The bytes at ref were written once by add and never change.
	return unsafe.String(&a.chunks[ref>>16][ref&0xffff], int(n))
}

func (a *arena) drop(n uint8) { a.waste += int(n) }

// sparse reports whether rewriting the live names would halve the arena.
func (a *arena) sparse() bool { return a.waste > 1<<20 && a.waste > a.size/2 }
