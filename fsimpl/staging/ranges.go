package staging

import "sort"

// Range is the half-open byte range [From, To) of a file.
type Range struct{ From, To int64 }

// Len returns the number of bytes in r.
func (r Range) Len() int64 { return r.To - r.From }

// rangeSet is a set of byte offsets: ascending ranges that neither overlap nor
// touch.
type rangeSet []Range

// add puts r into the set and returns the set.
func (s rangeSet) add(r Range) rangeSet {
	if r.From >= r.To {
		return s
	}
	if n := len(s); n > 0 && s[n-1].From <= r.From && r.From <= s[n-1].To {
		// The common case: a writer that appends to the last range.
		s[n-1].To = max(s[n-1].To, r.To)
		return s
	}
	i := sort.Search(len(s), func(i int) bool { return s[i].To >= r.From })
	j := i
	for j < len(s) && s[j].From <= r.To {
		r.From = min(r.From, s[j].From)
		r.To = max(r.To, s[j].To)
		j++
	}
	if i == j {
		s = append(s, Range{})
		copy(s[i+1:], s[i:])
		s[i] = r
		return s
	}
	s[i] = r
	return append(s[:i+1], s[j:]...)
}

// truncate removes every offset at or above size and returns the set.
func (s rangeSet) truncate(size int64) rangeSet {
	i := sort.Search(len(s), func(i int) bool { return s[i].To > size })
	if i == len(s) {
		return s
	}
	if s[i].From < size {
		s[i].To = size
		i++
	}
	return s[:i]
}

// covers reports whether every offset of r is in the set.
func (s rangeSet) covers(r Range) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].To >= r.To })
	return r.From >= r.To || (i < len(s) && s[i].From <= r.From)
}

// overlap calls fn with each part of r that is in the set, ascending.
func (s rangeSet) overlap(r Range, fn func(Range) error) error {
	i := sort.Search(len(s), func(i int) bool { return s[i].To > r.From })
	for ; i < len(s) && s[i].From < r.To; i++ {
		if err := fn(Range{max(s[i].From, r.From), min(s[i].To, r.To)}); err != nil {
			return err
		}
	}
	return nil
}
