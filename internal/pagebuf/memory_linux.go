//go:build !race

package pagebuf

import "golang.org/x/sys/unix"

// hugePage is the size of the pages that the system is asked to use.
const hugePage = 2 << 20

// allocate returns fresh memory, from the system, or from the collector where that has none
// to give.
func allocate(size int) []byte {
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]byte, size)
	}
	if size >= hugePage {
		_ = unix.Madvise(memory, unix.MADV_HUGEPAGE) // it is only faster
	}
	return memory
}

// free gives back what allocate returned.
func free(memory []byte) {
	_ = unix.Munmap(memory) // fails for what is the collector's, which frees it
}
