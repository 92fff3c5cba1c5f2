package fsimpl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/loroindex/loro"
)

// damage is what cannot be used of a journal's entries as it is, by their places.
type damage struct {
	bad     []int // not what they say
	why     error // of the first
	waiting []int // for operations that neither the journal nor the index has
	notices int   // how many there were before the index was loaded
}

// checkEntry returns nil for an entry that is what it says.
func checkEntry(e journal.Entry) error {
	return loroindex.CheckUpdate(loroindex.Span{Peer: e.Peer, Start: e.Start, End: e.End}, e.Update)
}

// unreadable returns the places of the entries that are not what they say, and why the first is not.
func unreadable(entries []journal.Entry) (bad []int, why error) {
	for n, e := range entries {
		if err := checkEntry(e); err != nil {
			if bad = append(bad, n); why == nil {
				why = err
			}
		}
	}
	return bad, why
}

// waiting returns the places of the entries but bad whose operations the index, into which all were imported, does not
// have: they build on others that it lacks.
func (fs *FS) waiting(entries []journal.Entry, bad []int) (waiting []int) {
	version := fs.index.Version()
	for n, e := range entries {
		if version[loro.PeerID(e.Peer)] < e.End && !slices.Contains(bad, n) {
			waiting = append(waiting, n)
		}
	}
	return waiting
}

// without returns the entries but those at some places, ascending.
func without(entries []journal.Entry, places []int) []journal.Entry {
	left := make([]journal.Entry, 0, len(entries))
	for n, e := range entries {
		if _, out := slices.BinarySearch(places, n); !out {
			left = append(left, e)
		}
	}
	return left
}

// metaMadeAgain has in the journal which operations were made again: 12 bytes for each peer of these, the peer and the
// first counter (big-endian). Should more damage bring their entries back, they must not be once more.
const metaMadeAgain = "index: made again"

// madeAgain returns that, of each peer the first counter.
func (fs *FS) madeAgain() map[uint64]int32 {
	first := make(map[uint64]int32)
	for noted := fs.journal.GetMeta(metaMadeAgain); len(noted) >= 12; noted = noted[12:] {
		first[binary.BigEndian.Uint64(noted)] = int32(binary.BigEndian.Uint32(noted[8:]))
	}
	return first
}

// noteMadeAgain returns what metaMadeAgain has to be with some more entries: the newest, of so many that
// nothing older can be in the journal.
func noteMadeAgain(noted []byte, entries []journal.Entry) []byte {
	first := make(map[uint64]int32)
	for _, e := range entries {
		if at, ok := first[e.Peer]; !ok || e.Start < at {
			first[e.Peer] = e.Start
		}
	}
	for _, p := range slices.Sorted(maps.Keys(first)) {
		noted = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(slices.Clip(noted), p), uint32(first[p]))
	}
	return noted[max(0, len(noted)-journal.MaxMeta/12*12):]
}

// redo has the entries that wait for what is lost made again by a new peer, puts these into the journal in their place,
// and loads the index with them. merged is what the loading before gave.
//
// What is in the store would not have to be made again: where that cannot be reached, and had some of what is
// lost here, files may be there twice once it is.
func (fs *FS) redo(ctx context.Context, local *localIndex, left *journal.Loaded, merged loroindex.Changes, d damage) (
	_ loroindex.Changes, err error) {
	said := []string{fmt.Sprintf("what is left of journal %s has a gap", fs.opts.State.Journal())}
	if !fs.suspect { // else there is a copy of the whole
		kept, failed := fs.journal.CopyAside()
		if failed != nil {
			return merged, errors.Join(d.why, failed)
		}
		said[0] = fmt.Sprintf("journal %s is damaged; it is kept as %s", fs.opts.State.Journal(), kept)
	}
	if d.why != nil {
		said = append(said, fmt.Sprintf("%d changes are lost (%v)", len(d.bad), d.why))
	}
	out := slices.Sorted(slices.Values(slices.Concat(d.bad, d.waiting)))
	noted := fs.journal.GetMeta(metaMadeAgain)
	if before := fs.madeAgain(); len(before) > 0 {
		d.waiting = slices.DeleteFunc(d.waiting, func(n int) bool {
			from, ok := before[left.Entries[n].Peer]
			return ok && left.Entries[n].Start >= from
		})
		if len(d.waiting) == 0 && len(out) > len(d.bad) {
			fs.notices = fs.notices[:d.notices]
			if merged, err = fs.loadAndImport(ctx, local, without(left.Entries, out)); err != nil {
				return merged, err
			}
		}
	}
	rest := without(left.Entries, out)
	var again []journal.Entry
	if len(d.waiting) > 0 {
		var made loroindex.Redone
		if again, made, merged, err = fs.makeAgain(ctx, local, left.Entries, rest, d); err != nil {
			return merged, err
		}
		if again == nil {
			said = append(said, fmt.Sprintf("the last %d changes build on what is lost, and are lost, too", len(d.waiting)))
		} else {
			said = append(said, fmt.Sprintf("%d operations are lost, and the %d changes that came after them were made again",
				made.Missing, len(d.waiting)))
			said = append(said, unplaced(made.Unplaced)...)
			left.Uploads = renumber(left.Uploads, made.Inos)
			var old []journal.Entry
			for _, n := range d.waiting {
				old = append(old, left.Entries[n])
			}
			noted = noteMadeAgain(noted, old)
		}
	}
	if err := fs.journal.SetMeta(ctx, metaSuspect, []byte{1}); err != nil {
		return merged, err
	}
	if err := fs.journal.Replace(ctx, out, again, metaMadeAgain, noted); err != nil {
		return merged, err
	}
	whole := 0
	for n := range left.Whole {
		if _, gone := slices.BinarySearch(out, n); !gone {
			whole++
		}
	}
	left.Whole, left.Entries = whole, append(rest, again...)
	fs.suspect = true // of uploads as well, then
	fs.tell(strings.Join(said, "; "))
	return merged, nil
}

// unplaced tells of files that could not be made again as they were.
func unplaced(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	const most = 5
	list := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		list += fmt.Sprintf(" and %d others", len(names)-most)
	}
	return []string{"what is left of files without their names, or directories, is called " + list}
}

// makeAgain has the entries that wait made again, and loads the index with that and the rest. Where that is not
// possible it is loaded with the rest alone, and there is nothing made again.
func (fs *FS) makeAgain(ctx context.Context, local *localIndex, entries, rest []journal.Entry, d damage) (
	again []journal.Entry, made loroindex.Redone, merged loroindex.Changes, err error) {
	updates := make([][]byte, len(d.waiting))
	for i, n := range d.waiting {
		updates[i] = entries[n].Update
	}
	made, err = fs.index.Redo(updates...)
	for _, op := range made.Ops {
		again = append(again, journal.Entry{Peer: op.Peer, Start: op.Start, End: op.End, Update: op.Update})
	}
	if err == nil && len(again) > 0 {
		all := slices.Concat(rest, again)
		fs.notices = fs.notices[:d.notices] // those of the loading
		merged, err = fs.loadAndImport(ctx, local, all)
		if err == nil && len(fs.waiting(all, nil)) == 0 {
			return again, made, merged, nil
		}
	}
	if err != nil && !errors.Is(err, loroindex.ErrUpdate) {
		return nil, made, merged, err
	}
	fs.log.Error("changes that build on lost ones cannot be made again", "changes", len(d.waiting), "error", err)
	fs.notices = fs.notices[:d.notices]
	merged, err = fs.loadAndImport(ctx, local, rest)
	return nil, made, merged, err
}
