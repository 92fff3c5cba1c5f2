package journal

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hamflx/pocket/internal/busyfile"
)

// leaf is a page with rows of a table, which may be nobody's.
type leaf struct {
	page        int
	first, last int64 // numbers of its rows
}

// leaves returns those of the database at path that have a number from first on, in the order of these.
// The format is https://www.sqlite.org/fileformat2.html#b_tree_pages.
func leaves(path string, first int64) (found []leaf, err error) {
	f, err := busyfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, pageSize)
	for page := 2; ; page++ { // the schema is on the first
		if n, _ := f.ReadAt(b, int64(page-1)*pageSize); n < pageSize {
			break
		}
		const tableLeaf, header = 13, 8
		cells := int(binary.BigEndian.Uint16(b[3:]))
		if b[0] != tableLeaf || cells == 0 || header+2*cells > pageSize {
			continue
		}
		number := func(cell int) int64 {
			at := int(binary.BigEndian.Uint16(b[header+2*cell:]))
			_, at = varint(b, at)
			n, _ := varint(b, at)
			return int64(n)
		}
		l := leaf{page: page, first: number(0), last: number(cells - 1)}
		if l.last >= max(first, l.first) {
			found = append(found, l)
		}
	}
	slices.SortStableFunc(found, func(a, b leaf) int { return cmp.Compare(a.first, b.first) })
	return found, nil
}

// varint reads one of SQLite's numbers, and returns where the next one is.
func varint(b []byte, at int) (n uint64, next int) {
	for i := 0; i < 9 && at < len(b); i++ {
		c := b[at]
		at++
		if i == 8 {
			return n<<8 | uint64(c), at
		}
		if n = n<<7 | uint64(c&0x7f); c < 0x80 {
			break
		}
	}
	return n, at
}

// adopt adds the entries of pages that no page leads to any more, since the one that did is damaged: those whose
// numbers cannot be read otherwise, or continue what can. A page that was freed has entries that were published, whose
// numbers are lower; what was dropped for another reason was erased. Nothing else can be read of the database at path,
// to which c is connected, afterwards.
func (all *content) adopt(c *connection, path string) error {
	busy, _, err := c.checkpoint("TRUNCATE")
	if err != nil || busy {
		return err
	}
	t := &all.entries
	top, first := int64(0), int64(0)
	for n := range t.rows {
		top = max(top, n)
	}
	first = top + 1
	for _, s := range t.unread {
		first = min(first, s.first)
	}
	found, err := leaves(path, first)
	if err != nil {
		return err
	}
	for _, l := range found {
		if l.first > top+1 && !t.mayHave(l.first, l.last) {
			continue
		}
		if err := c.run(fmt.Sprintf("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage=%d WHERE name='entries'; PRAGMA writable_schema=RESET", l.page)); err != nil {
			return err
		}
		of := walkEntries(c)
		for _, n := range of.numbers() {
			if _, there := t.rows[n]; !there && (top > 0 && n == top+1 || t.mayHave(n, n)) {
				t.rows[n] = of.rows[n]
				top = max(top, n)
			}
		}
	}
	return nil
}
