package journal

import (
	"database/sql/driver"
	"fmt"
	"maps"
	"math"
	"slices"
)

// table is what can be read of a table of which pages may be missing, or be those of something else.
type table[R any] struct {
	rows   map[int64]R // by their numbers
	unread []span      // in which there may have been others
}

// walk reads a table. What decode makes no row of is passed over, and so is what comes out of order:
// a page that is missing may be as it was when it held other rows, or another table's.
func walk[R any](c *connection, name, columns string, count int, decode func(row []driver.Value) (R, bool)) table[R] {
	t := table[R]{rows: map[int64]R{}}
	last, from, missing := int64(0), int64(0), false // the newest row, where to go on, and whether some may be between
	for {
		err := c.each(fmt.Sprintf("SELECT rowid, %s FROM %s WHERE rowid > %d ORDER BY rowid", columns, name, from), count+1, func(row []driver.Value) error {
			n := toInt(row[0])
			r, ok := decode(row[1:])
			if !ok || n <= last {
				missing = true
				return nil
			}
			if missing {
				t.unread = append(t.unread, span{last + 1, n - 1})
			}
			t.rows[n], last, missing = r, n, false
			return nil
		})
		missing = missing || err != nil
		if err == nil {
			break
		}
		next, found := c.readable(name, max(last, from))
		if !found {
			break
		}
		from = next
	}
	if missing {
		t.unread = append(t.unread, span{last + 1, math.MaxInt64})
	}
	return t
}

// readable returns from where on a table can be read again, behind a page that cannot be.
func (c *connection) readable(name string, behind int64) (from int64, found bool) {
	try := func(from int64) bool {
		_, err := c.value(fmt.Sprintf("SELECT rowid FROM %s WHERE rowid > %d ORDER BY rowid LIMIT 1", name, from))
		return err == nil
	}
	step := int64(1)
	for ; !try(behind + step); step *= 2 {
		if behind > math.MaxInt64-4*step {
			return 0, false
		}
	}
	lo, hi := behind+step/2, behind+step
	for lo+1 < hi {
		if mid := lo + (hi-lo)/2; try(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, true
}

// fill adds the rows of an earlier state of t where t cannot be read: elsewhere they were removed since.
func (t *table[R]) fill(earlier table[R]) {
	for n, r := range earlier.rows {
		if t.mayHave(n, n) {
			t.rows[n] = r
		}
	}
}

// mayHave reports whether there may have been rows with the numbers first to last that cannot be read.
func (t *table[R]) mayHave(first, last int64) bool {
	return slices.ContainsFunc(t.unread, func(s span) bool { return s.first <= last && first <= s.last })
}

// numbers returns those of the rows, ascending.
func (t *table[R]) numbers() []int64 { return slices.Sorted(maps.Keys(t.rows)) }

// inOrder returns the rows by their numbers.
func (t *table[R]) inOrder() []R {
	rows := make([]R, 0, len(t.rows))
	for _, n := range t.numbers() {
		rows = append(rows, t.rows[n])
	}
	return rows
}

// content is what can be read of a damaged journal.
type content struct {
	entries table[Entry]
	uploads table[Upload]
	objects table[IndexObject]
	facts   map[string][]byte
	cut     bool // there may be more facts
}

// readAll reads a database.
func readAll(c *connection) (all content) {
	all.uploads = walk(c, "uploads", "object, size, node", 3, func(row []driver.Value) (u Upload, ok bool) {
		id, err := toID(row[0])
		u = Upload{Object: id, Size: toInt(row[1]), Node: uint64(toInt(row[2]))}
		return u, err == nil && areInts(row[1:]) && u.Size >= 0
	})
	all.entries = walkEntries(c)
	all.objects = walk(c, "index_objects", "key, size, file, body", 4, func(row []driver.Value) (IndexObject, bool) {
		o := IndexObject{Key: toString(row[0]), Size: toInt(row[1]), File: toString(row[2])}
		if o.File == "" {
			o.Body = toBytes(row[3])
		}
		return o, o.Key != "" && len(o.Body) <= MaxIndexBody
	})
	all.facts = map[string][]byte{}
	all.cut = nil != c.each("SELECT key, value FROM meta", 2, func(row []driver.Value) error {
		if key, value := toString(row[0]), toBytes(row[1]); key != "" && key != metaWhole && len(value) <= MaxMeta {
			all.facts[key] = value
		}
		return nil
	})
	return all
}

// fill adds what an earlier state has, where this one cannot be read.
func (all *content) fill(earlier content) {
	all.uploads.fill(earlier.uploads)
	all.entries.fill(earlier.entries)
	all.objects.fill(earlier.objects)
	for key, value := range earlier.facts {
		if _, there := all.facts[key]; all.cut && !there {
			all.facts[key] = value
		}
	}
}

// complete adds the entries of damaged pages that are what they say and missing between others, or behind all.
func (all *content) complete(damaged table[Entry], check func(Entry) error) {
	numbers := all.entries.numbers()
	if len(numbers) == 0 {
		return
	}
	first, top := numbers[0], numbers[len(numbers)-1]
	for _, n := range damaged.numbers() {
		if _, there := all.entries.rows[n]; there || n < first || n > top+1 || check(damaged.rows[n]) != nil {
			continue
		}
		all.entries.rows[n] = damaged.rows[n]
		top = max(top, n)
	}
}

func walkEntries(c *connection) table[Entry] {
	return walk(c, "entries", "peer, first, next, body", 4, func(row []driver.Value) (Entry, bool) {
		e := Entry{Peer: uint64(toInt(row[0])), Start: int32(toInt(row[1])), End: int32(toInt(row[2])), Update: toBytes(row[3])}
		return e, areInts(row[:3]) && len(e.Update) > 0 && len(e.Update) <= MaxIndexBody
	})
}

func areInts(values []driver.Value) bool {
	return !slices.ContainsFunc(values, func(v driver.Value) bool {
		_, ok := v.(int64)
		return !ok
	})
}
