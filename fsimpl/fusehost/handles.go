package fusehost

import (
	"iter"
	"sync"
	"sync/atomic"

	"github.com/hamflx/pocket/fsimpl"
)

// noHandle is what cgofuse passes where a callback comes without a handle.
const noHandle = ^uint64(0)

// handle is an open file or directory, as a number to libfuse and WinFsp. Either
// file or dir is set.
type handle struct {
	node fsimpl.Node
	file openFile

	appends bool
	plainMu sync.Mutex
	plain   openFile // the file opened without O_APPEND, for write-back; guarded by plainMu

	dirMu sync.Mutex
	dir   openDir // its methods are called with dirMu held
	read  bool    // entries were given out already; guarded by dirMu
}

// handles gives numbers to open files. A look-up takes two atomic loads: reads and
// writes of all files pass here.
type handles struct {
	pages [1 << 14]atomic.Pointer[handlePage]

	mu   sync.Mutex
	free []uint64 // numbers that were given back; guarded by mu
	next uint64   // the first number never used; guarded by mu
}

const handlePageSize = 1 << 8

type handlePage [handlePageSize]atomic.Pointer[handle]

// add gives h a number. It reports false when there are more open files than
// anything can have.
func (t *handles) add(h *handle) (number uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		number, t.free = t.free[n-1], t.free[:n-1]
	} else {
		number = t.next
		if number == uint64(len(t.pages))*handlePageSize {
			return 0, false
		}
		t.next++
		if page := &t.pages[number/handlePageSize]; page.Load() == nil {
			page.Store(new(handlePage))
		}
	}
	t.pages[number/handlePageSize].Load()[number%handlePageSize].Store(h)
	return number + 1, true // 0 is what libfuse has in a handle that was never set
}

// slot returns where the handle of a number is, or nil for a number that was never
// given.
func (t *handles) slot(number uint64) *atomic.Pointer[handle] {
	number--
	if number/handlePageSize >= uint64(len(t.pages)) {
		return nil
	}
	page := t.pages[number/handlePageSize].Load()
	if page == nil {
		return nil
	}
	return &page[number%handlePageSize]
}

// get returns the handle of a number, or nil.
func (t *handles) get(number uint64) *handle {
	slot := t.slot(number)
	if slot == nil {
		return nil
	}
	return slot.Load()
}

// remove takes a number back and returns its handle, or nil.
func (t *handles) remove(number uint64) *handle {
	slot := t.slot(number)
	if slot == nil {
		return nil
	}
	h := slot.Swap(nil)
	if h != nil {
		t.mu.Lock()
		t.free = append(t.free, number-1)
		t.mu.Unlock()
	}
	return h
}

// all has every open handle. One that is opened or released meanwhile may be missing.
func (t *handles) all() iter.Seq[*handle] {
	return func(yield func(*handle) bool) {
		t.mu.Lock()
		used := t.next
		t.mu.Unlock()
		for number := range used {
			if h := t.get(number + 1); h != nil && !yield(h) {
				return
			}
		}
	}
}

// holds reports whether node n is open.
func (t *handles) holds(n fsimpl.Node) bool {
	for h := range t.all() {
		if h.node == n {
			return true
		}
	}
	return false
}

// empty reports whether nothing is open.
func (t *handles) empty() bool {
	for range t.all() {
		return false
	}
	return true
}
