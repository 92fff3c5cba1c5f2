package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fill makes transactions fail as on a full disk, and returns what ends that.
func fill(t *testing.T, j *Journal) (free func()) {
	t.Helper()
	limit := func(pages int64) {
		j.db.mu.Lock()
		defer j.db.mu.Unlock()
		_, err := j.db.main.number(fmt.Sprintf("PRAGMA max_page_count=%d", pages))
		require.NoError(t, err)
	}
	limit(1) // SQLite takes it for the present size
	return func() { limit(1 << 30) }
}

// large is an entry that needs new pages.
func large(n int) Entry {
	e := entry(1, n, Upload{Object: objectOf(n), Size: 1})
	e.Update = append(e.Update, make([]byte, 10_000)...)
	return e
}

func TestFullDiskKeepsChangesQueuedInOrder(t *testing.T) {
	j := open(t, newPath(t), Options{SyncDelay: time.Hour})
	require.NoError(t, j.Enqueue(large(0)).Wait())
	free := fill(t, j)
	var tickets []*Ticket
	for n := 1; n < 4; n++ {
		tickets = append(tickets, j.Enqueue(large(n)))
	}
	for range 2 {
		for _, ticket := range tickets {
			err := ticket.Wait()
			require.ErrorIs(t, err, ErrNoSpace)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.Contains(t, err.Error(), j.path)
			require.NotContains(t, err.Error(), "\n")
		}
	}
	require.ErrorIs(t, j.Err(), ErrNoSpace)
	require.ErrorIs(t, j.Published(ctx, 1, 1), ErrNoSpace, "it comes after what cannot be committed")
	require.ErrorIs(t, j.SetMeta(ctx, "a", []byte("1")), ErrNoSpace)
	require.ErrorIs(t, j.Sync(ctx), ErrNoSpace, "not all of it is committed")
	_, err := j.Load(ctx)
	require.ErrorIs(t, err, ErrNoSpace)
	last := j.Enqueue(entry(1, 4))
	require.ErrorIs(t, last.Wait(), ErrNoSpace)
	n, _ := j.Pending()
	require.Equal(t, 4, n)

	free()
	require.NoError(t, last.Wait())
	require.NoError(t, j.Err())
	for _, ticket := range tickets {
		require.NoError(t, ticket.Wait())
	}
	for range 2 {
		loaded := load(t, j)
		require.Len(t, loaded.Entries, 4)
		for i, e := range loaded.Entries {
			require.Equal(t, int32(i+1), e.Start)
		}
		require.Len(t, loaded.Uploads, 4)
		require.Equal(t, "1", string(j.GetMeta("a")))
		j = reopen(t, j)
	}
}

func TestFullDiskIsNoFailureWhereRoomCanBeMade(t *testing.T) {
	var free func()
	asked := 0
	j := open(t, newPath(t), Options{SyncDelay: time.Hour, MakeRoom: func() bool {
		if asked++; asked == 2 {
			free()
		}
		return asked <= 2
	}})
	require.NoError(t, j.Enqueue(large(0)).Wait())
	free = fill(t, j)
	require.NoError(t, j.Enqueue(large(1)).Wait())
	require.Equal(t, 2, asked)
	require.NoError(t, j.Err())
	fill(t, j)
	require.ErrorIs(t, j.Enqueue(large(2)).Wait(), ErrNoSpace, "nothing more can be freed")
	require.Equal(t, 3, asked)
}

// kept is a Reserve of some pieces.
type kept struct {
	pieces int
	free   func()      // ends what fill began
	refill func() bool // nil: it is whole
}

func (k *kept) Release() bool {
	if k.pieces == 0 {
		return false
	}
	k.pieces--
	k.free()
	return true
}

func (k *kept) Refill() bool { return k.refill == nil || k.refill() }

func TestReserveIsForChangesThatMakeRoom(t *testing.T) {
	r := &kept{pieces: 3}
	j := open(t, newPath(t), Options{SyncDelay: time.Hour, Reserve: r})
	require.NoError(t, j.Enqueue(large(0)).Wait())
	full := func(n int) *Ticket {
		t.Helper()
		r.free = fill(t, j)
		pieces := r.pieces
		e := large(n)
		e.Update = append(e.Update, make([]byte, n*20_000)...) // more than was removed
		ticket := j.Enqueue(e)
		require.ErrorIs(t, ticket.Wait(), ErrNoSpace)
		require.Equal(t, pieces, r.pieces)
		return ticket
	}
	before := full(1)
	removal := large(2)
	removal.MakesRoom = true
	require.NoError(t, j.Enqueue(removal).Wait())
	require.NoError(t, before.Wait(), "what comes before goes along")
	require.Equal(t, 2, r.pieces)
	require.NoError(t, j.Err())

	full(3)
	require.NoError(t, j.Published(ctx, 1, 1))
	require.Equal(t, 1, r.pieces)

	full(4)
	j.Uploaded(objectOf(0))
	last := j.Enqueue(large(5))
	require.NoError(t, last.Wait(), "with what was uploaded")
	require.Zero(t, r.pieces)

	full(6)
	removal = large(7)
	removal.MakesRoom = true
	require.ErrorIs(t, j.Enqueue(removal).Wait(), ErrNoSpace)
	r.free()
	require.NoError(t, j.Sync(ctx))
	for i, e := range load(t, j).Entries {
		require.Equal(t, int32(i+1), e.Start)
	}
}

// The background makes the reserve whole again, and syncs in time meanwhile.
func TestReserveIsMadeWholeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var tried []time.Duration
		var j *Journal
		r := &kept{refill: func() bool {
			tried = append(tried, time.Since(begun))
			return len(tried) > 3
		}}
		j, err := Open(newPath(t), Options{Reserve: r})
		require.NoError(t, err)
		require.NoError(t, j.Sync(ctx))
		synctest.Wait()
		require.Len(t, tried, 1)
		j.Enqueue(entry(1, 1))
		time.Sleep(defaultSyncDelay + time.Millisecond)
		synctest.Wait()
		require.Equal(t, j.committed.Load(), j.synced.Load())
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []time.Duration{0, defaultSyncDelay, defaultSyncDelay + refillDelay, defaultSyncDelay + 2*refillDelay}, tried)
		require.NoError(t, j.Close())
	})
}

func TestBackgroundRetriesWhenNobodyDoes(t *testing.T) {
	synced := make(chan struct{}, 1)
	j := open(t, newPath(t), Options{SyncDelay: time.Millisecond, BeforeSync: func() error {
		select {
		case synced <- struct{}{}:
		default:
		}
		return nil
	}})
	free := fill(t, j)
	require.ErrorIs(t, j.Enqueue(large(0)).Wait(), ErrNoSpace)
	require.ErrorIs(t, j.Err(), ErrNoSpace)
	<-synced // of what Open found: the background is at work
	free()
	<-synced
	require.NoError(t, j.Sync(ctx))
	require.NoError(t, j.Err())
	require.Len(t, load(t, j).Entries, 1)
}

func TestCloseTellsWhatWasNotJournaled(t *testing.T) {
	j := open(t, newPath(t), Options{})
	fill(t, j)
	require.ErrorIs(t, j.Enqueue(large(0)).Wait(), ErrNoSpace)
	last := j.Enqueue(large(1))
	err := j.Close()
	require.ErrorIs(t, err, ErrNoSpace)
	require.Contains(t, err.Error(), "2 changes")
	require.ErrorIs(t, last.Wait(), ErrClosed)
}

func TestEntryNobodyWaitsForIsCommittedAndSynced(t *testing.T) {
	var committed atomic.Pointer[Journal]
	done := make(chan uint64, 10)
	j := open(t, newPath(t), Options{SyncDelay: time.Millisecond, BeforeSync: func() error {
		done <- committed.Load().committed.Load()
		return nil
	}})
	committed.Store(j)
	j.Enqueue(entry(1, 1))
	require.Equal(t, uint64(2), <-done)
}

// trace records the order of syncs, and fails them on demand.
type trace struct {
	syncer
	events []string
	fail   error
}

func (s *trace) Sync() error {
	s.events = append(s.events, "log")
	if s.fail != nil {
		return s.fail
	}
	return s.syncer.Sync()
}

func TestChunksAreSyncedBeforeTheLog(t *testing.T) {
	var s trace
	j := open(t, newPath(t), Options{SyncDelay: time.Hour, BeforeSync: func() error {
		s.events = append(s.events, "chunks")
		return nil
	}})
	s.syncer, j.db.wal = j.db.wal, &s
	require.Empty(t, s.events)
	require.NoError(t, j.Sync(ctx))
	require.Equal(t, []string{"chunks", "log"}, s.events, "what an earlier process left")
	require.NoError(t, j.Sync(ctx))
	require.Equal(t, []string{"chunks", "log"}, s.events, "nothing changed")
	require.NoError(t, j.Enqueue(entry(1, 1)).Wait())
	require.Equal(t, []string{"chunks", "log"}, s.events, "a commit syncs nothing")
	j.Enqueue(entry(1, 2))
	require.NoError(t, j.Sync(ctx))
	require.Equal(t, []string{"chunks", "log", "chunks", "log"}, s.events)
	require.Equal(t, uint64(3), j.synced.Load())
	j.Enqueue(entry(1, 3))
	require.NoError(t, j.Close())
	require.Equal(t, []string{"chunks", "log", "chunks", "log", "chunks", "log"}, s.events)
}

func TestFailedChunkSyncFailsTheSync(t *testing.T) {
	broken := errors.New("broken")
	var fail error
	s := trace{}
	j := open(t, newPath(t), Options{SyncDelay: time.Hour, BeforeSync: func() error { return fail }})
	s.syncer, j.db.wal = j.db.wal, &s
	fail = broken
	require.NoError(t, j.Enqueue(entry(1, 1)).Wait())
	require.ErrorIs(t, j.Sync(ctx), broken)
	require.Empty(t, s.events, "the log waits for the chunks")
	require.NoError(t, j.Enqueue(entry(1, 2)).Wait(), "commits go on")
	require.ErrorIs(t, j.Sync(ctx), broken)
	require.ErrorIs(t, j.Err(), broken, "but no longer survive a power loss within a second")
	fail = nil
	require.NoError(t, j.Sync(ctx))
	require.NoError(t, j.Sync(ctx))
	require.Equal(t, uint64(3), j.synced.Load())
}

func TestFailedSyncOfTheLogIsMadeGoodByTheDatabase(t *testing.T) {
	j := open(t, newPath(t), Options{SyncDelay: time.Hour})
	s := trace{syncer: j.db.wal, fail: errors.New("bad sector")}
	j.db.wal = &s
	for n := range 20 {
		require.NoError(t, j.Enqueue(large(n)).Wait())
	}
	require.ErrorIs(t, j.Sync(ctx), s.fail)
	s.fail = nil
	require.NoError(t, j.Sync(ctx))
	require.Equal(t, []string{"log"}, s.events, "a second sync of the same pages would prove nothing")
	info, err := os.Stat(j.path + "-wal")
	require.NoError(t, err)
	require.Zero(t, info.Size(), "all of it is in the database")
	require.NoError(t, j.Enqueue(large(20)).Wait())
	require.NoError(t, j.Sync(ctx))
	require.Equal(t, []string{"log", "log"}, s.events)
	require.Len(t, load(t, j).Entries, 21)
}

func TestSyncReturnsWhenItsContextEnds(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	j := open(t, newPath(t), Options{SyncDelay: time.Hour, BeforeSync: func() error {
		started <- struct{}{}
		<-release
		return nil
	}})
	short, cancel := context.WithCancel(ctx)
	answered := make(chan error)
	go func() { answered <- j.Sync(short) }()
	<-started
	cancel()
	require.ErrorIs(t, <-answered, context.Canceled)

	// Changes go on while a sync hangs; those that come wait for the next one.
	require.NoError(t, j.Enqueue(entry(1, 1)).Wait())
	for range 3 {
		go func() { answered <- j.Sync(ctx) }()
	}
	release <- struct{}{}
	<-started
	release <- struct{}{}
	for range 3 {
		select {
		case err := <-answered:
			require.NoError(t, err)
		case <-started: // one of them came late
			release <- struct{}{}
			require.NoError(t, <-answered)
		}
	}
	close(release)
	require.Equal(t, uint64(2), j.synced.Load())
}

func TestLogIsWrittenFromItsStartAgain(t *testing.T) {
	j := open(t, newPath(t), Options{SyncDelay: time.Hour})
	j.db.large = 100_000
	var largest int64
	for n := range 300 {
		require.NoError(t, j.Enqueue(large(n)).Wait())
		if n%20 == 19 {
			require.NoError(t, j.Sync(ctx))
			// The checkpoint comes after the answer: a second call waits for it.
			j.Enqueue(Entry{Uploads: []Upload{{Object: objectOf(10_000 + n)}}})
			require.NoError(t, j.Sync(ctx))
		}
		info, err := os.Stat(j.path + "-wal")
		require.NoError(t, err)
		largest = max(largest, info.Size())
	}
	require.Less(t, largest, int64(1<<20), "3 MiB were committed")
	j = reopen(t, j)
	require.Len(t, load(t, j).Entries, 300)
}

func TestTransactionLeftOpenDoesNotStopTheNext(t *testing.T) {
	j := open(t, newPath(t), Options{})
	require.NoError(t, j.db.main.run("BEGIN IMMEDIATE; INSERT INTO meta VALUES ('stray', 'x')"))
	require.NoError(t, j.Enqueue(entry(1, 1)).Wait())
	j = reopen(t, j)
	require.Len(t, load(t, j).Entries, 1)
	require.Nil(t, j.GetMeta("stray"))
}
