package journal

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
)

var ctx = context.Background()

func open(t testing.TB, path string, opts Options) *Journal {
	t.Helper()
	j, err := Open(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { j.Close() })
	return j
}

func reopen(t testing.TB, j *Journal) *Journal {
	t.Helper()
	require.NoError(t, j.Close())
	return open(t, j.path, j.opts)
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "journal.db") }

func objectOf(n int) objectid.ID { return objectid.Of(fmt.Append(nil, n)) }

// entry returns an entry that can be told from others by its counters.
func entry(peer uint64, n int, uploads ...Upload) Entry {
	return Entry{Peer: peer, Start: int32(n), End: int32(n + 1), Update: fmt.Appendf(nil, "update %d of %x", n, peer), Uploads: uploads}
}

// stripped is e as Load returns it.
func stripped(e Entry) Entry {
	e.Uploads, e.Drop = nil, nil
	return e
}

func load(t testing.TB, j *Journal) Loaded {
	t.Helper()
	loaded, err := j.Load(ctx)
	require.NoError(t, err)
	return loaded
}

func TestEntriesComeBackInOrder(t *testing.T) {
	now := time.UnixMicro(1_700_000_000_123_456)
	j := open(t, newPath(t), Options{Now: func() time.Time { return now }})
	require.Equal(t, Loaded{}, load(t, j))

	var want Loaded
	var tickets []*Ticket
	for n := range 300 {
		peer := uint64(1)<<63 + uint64(n%3)
		e := entry(peer, n, Upload{Object: objectOf(n), Size: int64(n), Node: ^uint64(n)})
		if n%10 == 0 {
			e.Update = make([]byte, 20_000)
			e.Start, e.End = -1<<31, 1<<31-1
		}
		want.Entries = append(want.Entries, stripped(e))
		e.Uploads[0].Added = time.Unix(1, 0)
		want.Uploads = append(want.Uploads, Upload{Object: objectOf(n), Size: int64(n), Node: ^uint64(n), Added: now, Row: int64(n + 1)})
		tickets = append(tickets, j.Enqueue(e))
	}
	for _, ticket := range tickets {
		require.NoError(t, ticket.Wait())
		require.NoError(t, ticket.Wait(), "again")
	}
	require.Equal(t, want, load(t, j))
	require.NoError(t, j.Err())
	for range 2 {
		n, bytes := j.Pending()
		require.Equal(t, 300, n)
		require.Equal(t, int64(30*20_000), bytes-bytes%10_000)
		n, bytes = j.Uploads()
		require.Equal(t, 300, n)
		require.Equal(t, int64(299*300/2), bytes)
		j = reopen(t, j)
		require.Equal(t, want, load(t, j))
	}
}

func TestEntryWithoutAnUpdateIsNeverPublished(t *testing.T) {
	j := open(t, newPath(t), Options{})
	require.NoError(t, j.Enqueue(Entry{Uploads: []Upload{{Object: objectOf(1), Size: 7}}}).Wait())
	n, _ := j.Pending()
	require.Zero(t, n)
	loaded := load(t, j)
	require.Empty(t, loaded.Entries)
	require.Len(t, loaded.Uploads, 1)
}

func TestObjectIsOnTheUploadListOnce(t *testing.T) {
	j := open(t, newPath(t), Options{})
	a, b, c := objectOf(1), objectOf(2), objectOf(3)
	listed := func() (ids []objectid.ID, sizes int64) {
		for _, u := range load(t, j).Uploads {
			ids = append(ids, u.Object)
			sizes += u.Size
		}
		n, bytes := j.Uploads()
		require.Equal(t, len(ids), n)
		require.Equal(t, sizes, bytes)
		return ids, sizes
	}
	given := []Upload{{Object: a, Size: 1, Node: 1}, {Object: a, Size: 2, Node: 2}, {Object: b, Size: 4, Node: 3}}
	require.NoError(t, j.Enqueue(Entry{Uploads: given}).Wait())
	require.Equal(t, uint64(2), given[1].Node, "what was given is not changed")
	ids, sizes := listed()
	require.Equal(t, []objectid.ID{a, b}, ids)
	require.Equal(t, int64(5), sizes)
	require.Equal(t, uint64(1), load(t, j).Uploads[0].Node)

	// An object in Drop and Uploads stays.
	require.NoError(t, j.Enqueue(Entry{Drop: []objectid.ID{a, c}, Uploads: []Upload{{Object: b, Size: 4}, {Object: a, Size: 1}, {Object: c, Size: 8}}}).Wait())
	ids, _ = listed()
	require.Equal(t, []objectid.ID{a, b, c}, ids)

	j = reopen(t, j)
	j.Uploaded(b, objectOf(99))
	j.Uploaded(b)
	require.NoError(t, j.Enqueue(Entry{Drop: []objectid.ID{c}}).Wait())
	require.NoError(t, j.Sync(ctx))
	ids, _ = listed()
	require.Equal(t, []objectid.ID{a}, ids)
	j.Uploaded(a)
	n, bytes := j.Uploads()
	require.Zero(t, n)
	require.Zero(t, bytes)
	j = reopen(t, j)
	require.Empty(t, load(t, j).Uploads)
}

// What an entry drops is needed again when a power loss takes the entry.
func TestDroppedObjectsStayUntilTheEntryIsSynced(t *testing.T) {
	j := open(t, newPath(t), Options{SyncDelay: time.Hour})
	a, b := objectOf(1), objectOf(2)
	require.NoError(t, j.Enqueue(Entry{Uploads: []Upload{{Object: a, Size: 1}, {Object: b, Size: 2}}}).Wait())
	var told []objectid.ID
	dropped := func(ids []objectid.ID) { told = append(told, ids...) }
	require.NoError(t, j.Enqueue(Entry{Drop: []objectid.ID{a, b}, Dropped: dropped}).Wait())
	require.Len(t, load(t, j).Uploads, 2)
	require.Empty(t, told)
	require.NoError(t, j.Enqueue(Entry{Uploads: []Upload{{Object: b, Size: 2}}}).Wait())
	require.NoError(t, j.Sync(ctx))
	require.Equal(t, []objectid.ID{a, b}, told)
	uploads := load(t, j).Uploads
	require.Len(t, uploads, 1, "the other one was listed again")
	require.Equal(t, b, uploads[0].Object)
}

// What was found beyond the last sync may lack its chunks, and is dropped by Judge.
func TestEntriesBeyondTheLastSyncAreToldAndCanBeDropped(t *testing.T) {
	j := open(t, newPath(t), Options{SyncDelay: time.Hour})
	require.NoError(t, j.Judge(ctx, 0, nil))
	listing := func(n int) Entry { return entry(1, n, Upload{Object: objectOf(n), Size: 1}) }
	for n := range 3 {
		require.NoError(t, j.Enqueue(listing(n)).Wait())
	}
	require.NoError(t, j.Sync(ctx))
	for n := 3; n < 6; n++ {
		require.NoError(t, j.Enqueue(listing(n)).Wait())
	}
	killed := newPath(t)
	copyJournal(t, j.path, killed, -1)
	j = open(t, killed, Options{SyncDelay: time.Hour})
	loaded := load(t, j)
	require.Len(t, loaded.Entries, 6)
	require.Equal(t, 3, loaded.Whole)
	require.Equal(t, 3, loaded.WholeUploads)

	require.NoError(t, j.Judge(ctx, 4, []objectid.ID{objectOf(4), objectOf(5)}))
	entries, _ := j.Pending()
	require.Equal(t, 4, entries)
	j = reopen(t, j)
	loaded = load(t, j)
	require.Len(t, loaded.Entries, 4)
	require.Len(t, loaded.Uploads, 4)
	require.Equal(t, 4, loaded.Whole, "closing syncs")

	// Numbers of rows that are gone are not used again.
	require.NoError(t, j.Published(ctx, 1, 100))
	j.Uploaded(objectOf(0), objectOf(1), objectOf(2), objectOf(3))
	j = reopen(t, j)
	require.NoError(t, j.Enqueue(listing(7)).Wait())
	loaded = load(t, j)
	require.Zero(t, loaded.Whole)
	require.Zero(t, loaded.WholeUploads)
}

func TestPublishedDropsThePeersOlderEntries(t *testing.T) {
	j := open(t, newPath(t), Options{})
	for n := range 10 {
		j.Enqueue(entry(uint64(n%2), n))
	}
	left := func() (s string) {
		for _, e := range load(t, j).Entries {
			s += fmt.Sprint(e.Start)
		}
		n, bytes := j.Pending()
		require.Len(t, s, n)
		require.Equal(t, int64(n*len("update 0 of 0")), bytes)
		return s
	}
	require.NoError(t, j.Published(ctx, 0, 0))
	require.NoError(t, j.Published(ctx, 7, 100))
	require.Equal(t, "0123456789", left())
	require.NoError(t, j.Published(ctx, 1, 6)) // 5 is [5, 6)
	require.Equal(t, "0246789", left())
	require.NoError(t, j.Published(ctx, 0, 5))
	require.Equal(t, "6789", left())
	j = reopen(t, j)
	require.Equal(t, "6789", left())
	require.NoError(t, j.Published(ctx, 0, 100))
	require.Equal(t, "79", left())
	require.NoError(t, j.Published(ctx, 1, 100))
	require.Equal(t, "", left())
	j.Enqueue(entry(1, 3))
	require.Equal(t, "3", left())
}

func TestMetaIsSeenAtOnceAndSurvives(t *testing.T) {
	j := open(t, newPath(t), Options{})
	require.Nil(t, j.GetMeta("a"))
	value := []byte("1")
	require.NoError(t, j.SetMeta(ctx, "a", value))
	value[0] = 'x'
	require.Equal(t, []byte("1"), j.GetMeta("a"))
	require.NoError(t, j.SetMeta(ctx, "empty", []byte{}))
	require.NoError(t, j.SetMeta(ctx, "b", []byte("2")))
	require.NoError(t, j.SetMeta(ctx, "b", nil))
	require.NoError(t, j.SetMeta(ctx, "a", []byte("3")))
	for range 2 {
		require.Equal(t, []byte("3"), j.GetMeta("a"))
		require.Nil(t, j.GetMeta("b"))
		require.NotNil(t, j.GetMeta("empty"))
		require.Empty(t, j.GetMeta("empty"))
		j = reopen(t, j)
	}
	require.Error(t, j.SetMeta(ctx, "a", make([]byte, MaxMeta+1)))
	require.Error(t, j.SetMeta(ctx, "", nil))
	require.Equal(t, []byte("3"), j.GetMeta("a"))
}

func indexObjects(t *testing.T, j *Journal) map[string]IndexObject {
	t.Helper()
	all := map[string]IndexObject{}
	last := ""
	for object, err := range j.IndexObjects(ctx) {
		require.NoError(t, err)
		require.Greater(t, object.Key, last)
		last = object.Key
		all[object.Key] = object
	}
	return all
}

func TestSnapshotTakesThePlaceOfUpdatesInOneTransaction(t *testing.T) {
	j := open(t, newPath(t), Options{})
	a := IndexObject{Key: "index/updates/a", Body: []byte("a"), Size: 99}
	b := IndexObject{Key: "index/updates/b", Body: make([]byte, 100_000)}
	empty := IndexObject{Key: "index/updates/empty", Body: []byte{}}
	snapshot := IndexObject{Key: "index/objects/s", File: "s.loro", Size: 5}
	require.NoError(t, j.UpdateIndexObjects(ctx, []IndexObject{b, a, empty}, nil, false))
	a.Size, b.Size = 1, 100_000
	require.Equal(t, map[string]IndexObject{a.Key: a, b.Key: b, empty.Key: empty}, indexObjects(t, j))

	require.NoError(t, j.UpdateIndexObjects(ctx, []IndexObject{snapshot, a}, []string{a.Key, b.Key, "unknown", empty.Key}, false))
	for range 2 {
		require.Equal(t, map[string]IndexObject{a.Key: a, snapshot.Key: snapshot}, indexObjects(t, j))
		j = reopen(t, j)
	}
	for _, bad := range []IndexObject{{}, {Key: "x"}, {Key: "x", Body: []byte{1}, File: "f"}, {Body: []byte{1}}, {Key: "x", Body: make([]byte, MaxIndexBody+1)}} {
		require.Error(t, j.UpdateIndexObjects(ctx, []IndexObject{bad}, nil, false))
	}
}

func TestLoopOverIndexObjectsMayChangeThem(t *testing.T) {
	j := open(t, newPath(t), Options{})
	var put []IndexObject
	for n := range 20 {
		put = append(put, IndexObject{Key: fmt.Sprintf("%02d", n), Body: make([]byte, 3000)})
	}
	require.NoError(t, j.UpdateIndexObjects(ctx, put, nil, false))
	seen := 0
	for object, err := range j.IndexObjects(ctx) {
		require.NoError(t, err)
		require.NoError(t, j.UpdateIndexObjects(ctx, []IndexObject{{Key: "z" + object.Key, Body: []byte{1}}}, []string{object.Key}, false))
		seen++
	}
	require.Equal(t, 20, seen)
	for object := range j.IndexObjects(ctx) {
		require.Equal(t, "z00", object.Key)
		break
	}
	require.Len(t, indexObjects(t, j), 20)
}

func TestPathMayHoldAnyCharacter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c=d#e%20é&")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skip("no such names here:", err)
	}
	j := open(t, filepath.Join(dir, "journal.db"), Options{})
	require.NoError(t, j.Enqueue(entry(1, 1)).Wait())
	require.FileExists(t, filepath.Join(dir, "journal.db"))
	require.Len(t, load(t, j).Entries, 1)
	require.NoError(t, j.Close())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "a closed journal is one file")
}

func TestClosedJournalRefuses(t *testing.T) {
	j := open(t, newPath(t), Options{})
	before := j.Enqueue(entry(1, 1))
	require.NoError(t, j.Close())
	require.NoError(t, j.Close())
	require.NoError(t, before.Wait(), "Close has committed it")
	require.ErrorIs(t, j.Enqueue(entry(1, 2)).Wait(), ErrClosed)
	require.ErrorIs(t, j.Sync(ctx), ErrClosed)
	require.ErrorIs(t, j.Published(ctx, 1, 2), ErrClosed)
	require.ErrorIs(t, j.SetMeta(ctx, "a", nil), ErrClosed)
	require.ErrorIs(t, j.UpdateIndexObjects(ctx, nil, nil, false), ErrClosed)
	_, err := j.Load(ctx)
	require.ErrorIs(t, err, ErrClosed)
	for _, err := range j.IndexObjects(ctx) {
		require.ErrorIs(t, err, ErrClosed)
	}
	j.Uploaded(objectOf(1))
	j = open(t, j.path, Options{})
	require.Len(t, load(t, j).Entries, 1)
}

func TestEndedContextStopsBeforeAnythingIsDone(t *testing.T) {
	j := open(t, newPath(t), Options{})
	ended, cancel := context.WithCancel(ctx)
	cancel()
	j.Enqueue(entry(1, 1))
	require.ErrorIs(t, j.Published(ended, 1, 2), context.Canceled)
	require.ErrorIs(t, j.SetMeta(ended, "a", []byte("b")), context.Canceled)
	require.ErrorIs(t, j.Sync(ended), context.Canceled)
	_, err := j.Load(ended)
	require.ErrorIs(t, err, context.Canceled)
	for _, err := range j.IndexObjects(ended) {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Nil(t, j.GetMeta("a"))
	require.Len(t, load(t, j).Entries, 1)
}

// Many goroutines change things at once, each waiting for its own; the order of
// Enqueue, which a lock fixes, is the order in the journal.
func TestConcurrentChangesKeepTheirOrder(t *testing.T) {
	const writers, each = 16, 100
	j := open(t, newPath(t), Options{SyncDelay: time.Millisecond})
	j.db.large = 1 << 16
	var mu sync.Mutex
	var order []Entry
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				mu.Lock()
				n := len(order)
				e := entry(1, n, Upload{Object: objectOf(n), Size: 1, Node: uint64(w)})
				order = append(order, e)
				ticket := j.Enqueue(e)
				mu.Unlock()
				if err := ticket.Wait(); err != nil {
					t.Error(err)
				}
				switch n % 50 {
				case 7:
					if err := j.Sync(ctx); err != nil {
						t.Error(err)
					}
				case 8:
					j.Uploaded(objectOf(n))
				case 9:
					if err := j.SetMeta(ctx, fmt.Sprint(w), fmt.Append(nil, n)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	j = reopen(t, j)
	loaded := load(t, j)
	require.Len(t, loaded.Entries, writers*each)
	for i, e := range loaded.Entries {
		require.Equal(t, stripped(order[i]), e)
	}
	n := 0
	for _, u := range loaded.Uploads {
		if n%50 == 8 {
			n++
		}
		require.Equal(t, objectOf(n), u.Object)
		n++
	}
}

// model is what a journal must hold.
type model struct {
	entries []Entry
	uploads []Upload
	meta    map[string]string
	index   map[string]string
}

func (m *model) unlist(ids ...objectid.ID) {
	m.uploads = slices.DeleteFunc(m.uploads, func(u Upload) bool { return slices.Contains(ids, u.Object) })
}

func (m *model) check(t *testing.T, j *Journal) {
	t.Helper()
	loaded := load(t, j)
	require.True(t, slices.EqualFunc(m.entries, loaded.Entries, func(a, b Entry) bool {
		return a.Peer == b.Peer && a.Start == b.Start && a.End == b.End && string(a.Update) == string(b.Update)
	}))
	require.True(t, slices.EqualFunc(m.uploads, loaded.Uploads, func(a, b Upload) bool {
		return a.Object == b.Object && a.Size == b.Size && a.Node == b.Node
	}))
	n, bytes := j.Pending()
	for _, e := range m.entries {
		n--
		bytes -= int64(len(e.Update))
	}
	require.Zero(t, n)
	require.Zero(t, bytes)
	n, bytes = j.Uploads()
	for _, u := range m.uploads {
		n--
		bytes -= u.Size
	}
	require.Zero(t, n)
	require.Zero(t, bytes)
	for key, value := range m.meta {
		require.Equal(t, value, string(j.GetMeta(key)))
	}
	index := map[string]string{}
	for object, err := range j.IndexObjects(ctx) {
		require.NoError(t, err)
		index[object.Key] = string(object.Body)
	}
	require.True(t, maps.Equal(m.index, index))
}

func TestRandomOperationsMatchAModel(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 7))
		j := open(t, newPath(t), Options{})
		j.db.large = 1 << 15
		m := model{meta: map[string]string{}, index: map[string]string{}}
		counters := map[uint64]int{}
		for step := range 600 {
			switch r.IntN(12) {
			default:
				peer := r.Uint64N(3)
				n := counters[peer]
				counters[peer]++
				e := entry(peer, n)
				for range r.IntN(3) {
					e.Uploads = append(e.Uploads, Upload{Object: objectOf(r.IntN(30)), Size: r.Int64N(100), Node: r.Uint64()})
				}
				for range r.IntN(2) {
					e.Drop = append(e.Drop, objectOf(r.IntN(30)))
				}
				e.Drop = slices.DeleteFunc(e.Drop, func(id objectid.ID) bool {
					return slices.ContainsFunc(e.Uploads, func(u Upload) bool { return u.Object == id }) && r.IntN(2) == 0
				})
				m.unlist(slices.DeleteFunc(slices.Clone(e.Drop), func(id objectid.ID) bool {
					return slices.ContainsFunc(e.Uploads, func(u Upload) bool { return u.Object == id })
				})...)
				for _, u := range e.Uploads {
					if !slices.ContainsFunc(m.uploads, func(v Upload) bool { return v.Object == u.Object }) {
						m.uploads = append(m.uploads, u)
					}
				}
				m.entries = append(m.entries, e)
				ticket := j.Enqueue(e)
				if r.IntN(2) == 0 {
					require.NoError(t, ticket.Wait())
				}
				if len(e.Drop) > 0 {
					require.NoError(t, j.Sync(ctx))
				}
			case 5:
				ids := []objectid.ID{objectOf(r.IntN(30)), objectOf(r.IntN(30))}
				m.unlist(ids...)
				j.Uploaded(ids...)
			case 6:
				peer := r.Uint64N(3)
				end := int32(r.IntN(counters[peer] + 2))
				m.entries = slices.DeleteFunc(m.entries, func(e Entry) bool { return e.Peer == peer && e.End <= end })
				require.NoError(t, j.Published(ctx, peer, end))
			case 7:
				key := fmt.Sprint(r.IntN(5))
				if r.IntN(3) == 0 {
					m.meta[key] = ""
					require.NoError(t, j.SetMeta(ctx, key, nil))
				} else {
					m.meta[key] = fmt.Sprint(step)
					require.NoError(t, j.SetMeta(ctx, key, fmt.Append(nil, step)))
				}
			case 8:
				drop := fmt.Sprint(r.IntN(5))
				put := IndexObject{Key: fmt.Sprint(r.IntN(5)), Body: fmt.Append(nil, step)}
				delete(m.index, drop)
				m.index[put.Key] = string(put.Body)
				require.NoError(t, j.UpdateIndexObjects(ctx, []IndexObject{put}, []string{drop}, false))
			case 9:
				require.NoError(t, j.Sync(ctx))
			case 10:
				if r.IntN(5) == 0 {
					m.check(t, j)
				}
			case 11:
				if r.IntN(10) == 0 {
					j = reopen(t, j)
					j.db.large = 1 << 15
				}
			}
		}
		m.check(t, j)
		j = reopen(t, j)
		m.check(t, j)
	}
}

// What takes the place of entries is there with the next start, behind those that are left, and they are not.
func TestReplacedEntriesAreThereInstead(t *testing.T) {
	j := open(t, newPath(t), Options{SyncDelay: time.Hour})
	for n := range 6 {
		require.NoError(t, j.Enqueue(entry(1, n, Upload{Object: objectOf(n), Size: 1})).Wait())
	}
	j = reopen(t, j)
	loaded := load(t, j)
	with := []Entry{entry(2, 0), entry(2, 1)}
	require.NoError(t, j.Replace(ctx, []int{1, 3, 4}, with, "fact", []byte("value")))
	require.Equal(t, "value", string(j.GetMeta("fact")))
	count, bytes := j.Pending()
	require.Equal(t, 5, count)
	want := []Entry{loaded.Entries[0], loaded.Entries[2], loaded.Entries[5], with[0], with[1]}
	sum := int64(0)
	for _, e := range want {
		sum += int64(len(e.Update))
	}
	require.Equal(t, sum, bytes)
	killed := newPath(t)
	copyJournal(t, j.path, killed, -1)
	require.NoError(t, j.Judge(ctx, 4, nil)) // the places are those of now
	require.NoError(t, j.Enqueue(entry(2, 1)).Wait())
	require.NoError(t, j.Published(ctx, 1, 6))
	require.Equal(t, []Entry{with[0], with[1]}, load(t, reopen(t, j)).Entries)

	after := open(t, killed, Options{SyncDelay: time.Hour})
	require.Equal(t, "value", string(after.GetMeta("fact")))
	again := load(t, after)
	require.Equal(t, want, again.Entries)
	require.Len(t, again.Uploads, 6)
}
