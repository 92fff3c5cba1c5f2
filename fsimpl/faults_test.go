package fsimpl_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
)

func TestStoreThatFailsGivesAnErrorNeverWrongData(t *testing.T) {
	store := newFaultStore()
	m := newMachine(t, store, 64<<10)
	m.put("small", []byte("content"))
	m.put("large", make([]byte, 200_000))
	m.stop()
	other := newMachine(t, store, 64<<10)
	store.setFail(func(op, key string) error {
		if strings.HasPrefix(key, "data/") {
			return unavailable(op, key)
		}
		return nil
	})
	for _, path := range []string{"/small", "/large"} {
		body, err := other.tryGet(path)
		require.Equal(t, fsimpl.IO, fsimpl.KindOf(err), path)
		require.Error(t, err)
		require.Empty(t, body)
		a, err := other.Resolve(path)
		require.NoError(t, err)
		attr, err := other.Stat(a)
		require.NoError(t, err)
		require.NotZero(t, attr.Size)
	}
	store.setFail(nil)
	eventually(t, "the content", func() bool { // every read asks whether the store is back
		body, err := other.tryGet("/small")
		return err == nil && string(body) == "content"
	})
}

func TestStoreThatIsAwayKeepsNobodyFromWorking(t *testing.T) {
	store := newFaultStore()
	m := newMachine(t, store, 64<<10)
	m.put("before", []byte("1"))
	m.drain()
	store.setFail(unavailable)
	m.put("during", []byte("2"))
	_, err := m.Mkdir(root, "dir", 0o755, me)
	require.NoError(t, err)
	require.NoError(t, m.Rename(root, "before", root, "renamed", 0))
	require.Equal(t, "2", string(m.get("/during")))
	var left *fsimpl.LeftError
	require.ErrorAs(t, m.leave(), &left)
	require.Positive(t, left.Progress.Changes)

	// Starting without the store works from what this machine knows.
	m.openWait = 100 * time.Millisecond
	m.start()
	require.NotEmpty(t, m.Notices())
	require.Equal(t, "2", string(m.get("/during")))
	require.ElementsMatch(t, []string{"renamed", "during", "dir"}, m.names("/"))
	store.setFail(nil)
	m.stop()
	other := newMachine(t, store, 64<<10)
	require.Equal(t, "2", string(other.get("/during")))
	require.Equal(t, "1", string(other.get("/renamed")))
}

func TestStoreThatIsAwaySinceItWasEmptyKeepsNobodyFromWorking(t *testing.T) {
	store := newFaultStore()
	m := newMachine(t, store, 64<<10)
	store.setFail(unavailable)
	m.put("f", []byte("1"))
	var left *fsimpl.LeftError
	require.ErrorAs(t, m.leave(), &left)
	m.openWait = 100 * time.Millisecond
	m.start()
	require.Equal(t, "1", string(m.get("/f")))
	require.ErrorAs(t, m.leave(), &left)

	// One that never saw the store cannot know what is in it.
	stranger := &machine{t: t, store: store, data: t.TempDir(), chunk: 64 << 10, openWait: m.openWait}
	require.ErrorIs(t, stranger.tryStart(), objstore.ErrUnavailable)

	m.openWait, stranger.openWait = 0, 0
	store.setFail(nil)
	m.start()
	m.stop()
	stranger.start()
	require.Equal(t, "1", string(stranger.get("/f")))
	stranger.stop()
}

func TestIndexThatCannotBeReadStopsTheMountAndWritesNothing(t *testing.T) {
	store := newFaultStore()
	m := newMachine(t, store, 64<<10)
	m.put("f", []byte("1"))
	m.stop()
	_, dataBefore, indexBefore := store.uploaded()

	away := &machine{t: t, store: store, data: t.TempDir(), chunk: 64 << 10}
	store.setFail(func(op, key string) error {
		return &objstore.Error{Op: op, Key: key, Kind: objstore.ErrPermission, Err: errors.New("forced")}
	})
	require.ErrorIs(t, away.tryStart(), objstore.ErrPermission)
	store.setFail(nil)

	ctx := context.Background()
	head, err := store.Store.Get(ctx, loroindex.HeadKey, 1000)
	require.NoError(t, err)
	key := loroindex.ObjectPrefix + string(head)
	require.NoError(t, store.Store.Put(ctx, key, []byte("damaged")))
	for info, err := range store.List(ctx, "index/updates/", "") {
		require.NoError(t, err)
		require.NoError(t, store.Store.Delete(ctx, info.Key))
	}
	err = away.tryStart()
	require.ErrorIs(t, err, loroindex.ErrDamaged)
	require.ErrorContains(t, err, key)
	_, data, index := store.uploaded()
	require.Equal(t, []int{dataBefore, indexBefore}, []int{data, index})
}

func TestDamagedJournalIsSetAsideAndTold(t *testing.T) {
	store := newFaultStore()
	m := newMachine(t, store, 64<<10)
	m.put("f", []byte("in the store"))
	m.stop()
	path := m.state.Journal()
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("damage"), 10_000), 0o600))
	m.start()
	require.Len(t, m.Notices(), 1)
	require.Contains(t, m.Notices()[0], "damaged")
	require.Equal(t, "in the store", string(m.get("/f")))
	aside, err := filepath.Glob(path + ".damaged-*")
	require.NoError(t, err)
	require.NotEmpty(t, aside)
}

// A start that ends between setting a damaged journal aside and reading it left what was not uploaded in there for ever.
func TestStartThatWasCutShortReadsTheDamagedJournal(t *testing.T) {
	for name, begun := range map[string]bool{"before there is a new one": false, "with a new one": true} {
		t.Run(name, func(t *testing.T) {
			store := newFaultStore()
			m := newMachine(t, store, 64<<10)
			m.put("there", []byte("there"))
			m.drain()
			store.setFail(failing(objstore.OpPut, ""))
			m.put("f", []byte("not in the store"))
			path := m.state.Journal()
			require.Error(t, m.leave())
			aside, err := journal.SetAside(path)
			require.NoError(t, err)
			if begun {
				j, err := journal.Open(path, journal.Options{})
				require.NoError(t, err)
				require.NoError(t, j.Close())
			}
			m.start()
			require.Equal(t, "not in the store", string(m.get("/f")))
			require.Len(t, m.Notices(), 1)
			require.Contains(t, m.Notices()[0], aside)
			require.Error(t, m.leave())
			m.start()
			require.Empty(t, m.Notices())
			store.setFail(nil)
			m.drain()
			require.Equal(t, "not in the store", string(m.get("/f")))
		})
	}
}

// What was lost of the index with a part of the journal was shown as a directory without files while the store was away.
func TestDamagedJournalWithoutTheIndexIsNotAnEmptyDirectory(t *testing.T) {
	store := newFaultStore()
	m := newMachine(t, store, 64<<10)
	m.put("f", []byte("in the store"))
	m.stop()
	path := m.state.Journal()
	j, err := journal.Open(path, journal.Options{})
	require.NoError(t, err)
	var known []string
	for o, err := range j.IndexObjects(t.Context()) {
		require.NoError(t, err)
		known = append(known, o.Key)
	}
	require.NotEmpty(t, known)
	require.NoError(t, j.UpdateIndexObjects(t.Context(), nil, known, false))
	require.NoError(t, j.Close())
	body, err := os.ReadFile(path)
	require.NoError(t, err)
	body[18] = 9 // the format, as of a later SQLite
	require.NoError(t, os.WriteFile(path, body, 0o600))

	store.setFail(unavailable)
	m.openWait = 100 * time.Millisecond
	for range 2 {
		require.ErrorIs(t, m.tryStart(), objstore.ErrUnavailable)
	}
	store.setFail(nil)
	m.openWait = 0
	m.start()
	require.Equal(t, "in the store", string(m.get("/f")))
}

func TestAFileWhoseObjectTheIndexDoesNotNameIsNotZeros(t *testing.T) {
	store := newFaultStore()
	b := indexBucket{store.Store}
	x, err := loroindex.New(loroindex.Options{Device: "before"})
	require.NoError(t, err)
	require.NoError(t, x.Update(func(tx *loroindex.Tx) error {
		_, err := tx.Create(loroindex.Root, "lost", loroindex.Info{Mode: 0o644, UID: -1, GID: -1}, loroindex.Content{Size: 9})
		return err
	}, nil))
	_, err = x.Publish(t.Context(), b, loroindex.Span{Peer: x.Peer(), End: int32(x.Stats().Ops)})
	require.NoError(t, err)

	m := newMachine(t, store, 64<<10)
	_, err = m.tryGet("/lost")
	require.ErrorContains(t, err, "no object")
	m.put("lost", []byte("written anew"))
	require.Equal(t, "written anew", string(m.get("/lost")))
}

// What cannot be read at the start, as with too many open files, is still there: it must not be given up.
func TestPendingContentThatCannotBeReadAtTheStartIsKept(t *testing.T) {
	m := &machine{t: t, store: newFaultStore(), data: t.TempDir(), chunk: 1 << 20, name: "a"}
	m.startForTest()
	m.put("f", []byte("first"))
	m.drain()
	m.store.setFail(failing(objstore.OpPut, ""))
	body := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	m.put("f", body)
	id := objectid.Of(body).String()
	files, err := filepath.Glob(filepath.Join(m.data, "state", "*", "cache", "*", id))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Error(t, m.leave())
	shard := filepath.Dir(files[0])
	require.NoError(t, os.Rename(shard, shard+"-away"))
	require.NoError(t, os.WriteFile(shard, nil, 0o600)) // reading it is an error, and not that it does not exist
	m.start()
	require.Empty(t, m.Notices())
	require.Error(t, m.leave())
	require.NoError(t, os.Remove(shard))
	require.NoError(t, os.Rename(shard+"-away", shard))
	m.start()
	require.True(t, bytes.Equal(body, m.get("/f")))
	m.store.setFail(nil)
	m.drain()
}

// What the disk made of a chunk before it was uploaded does not come into the store under its name.
func TestChunkThatIsDamagedBeforeItsUploadIsNotUploaded(t *testing.T) {
	m := &machine{t: t, store: newFaultStore(), data: t.TempDir(), chunk: 1 << 20, name: "a"}
	m.startForTest()
	m.put("f", []byte("first"))
	m.drain()
	asked, answer := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(goOn)
	var first sync.Once
	m.store.setFail(func(op, key string) (err error) {
		if op == objstore.OpPut {
			first.Do(func() {
				close(asked)
				<-answer
				err = unavailable(op, key)
			})
		}
		return err
	})
	body := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	m.put("f", body)
	id := objectid.Of(body)
	<-asked
	files, err := filepath.Glob(filepath.Join(m.data, "state", "*", "cache", "*", id.String()))
	require.NoError(t, err)
	require.Len(t, files, 1)
	damaged := bytes.Clone(body)
	damaged[1000] ^= 1
	require.NoError(t, os.WriteFile(files[0], damaged, 0o600))
	err = m.DrainPending(t.Context(), func(transfer.Left) { goOn() })
	require.ErrorIs(t, err, fsimpl.ErrLost)
	require.ErrorContains(t, err, "/f: its content was damaged on this machine")
	require.NoError(t, m.DrainPending(t.Context(), nil)) // what was pending then is not any more
	_, err = m.store.Store.Get(t.Context(), id.Key(), 1<<20)
	require.ErrorIs(t, err, objstore.ErrNotExist)
	require.Equal(t, "first", string(m.get("/f")))
	told := m.Status().Notices
	require.Len(t, told, 1)
	require.Contains(t, told[0].Text, "damaged on this machine")
	kept, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(files[0])), "damaged", id.String()))
	require.NoError(t, err)
	require.True(t, bytes.Equal(damaged, kept))
}

// What is written while the file's earlier content is asked of the store, in place of one that is lost, stays.
func TestWhatIsWrittenInPlaceOfLostContentStays(t *testing.T) {
	m := &machine{t: t, store: newFaultStore(), data: t.TempDir(), chunk: 1 << 20, name: "a"}
	m.startForTest()
	first, second := bytes.Repeat([]byte("1"), 300_000), bytes.Repeat([]byte("2"), 300_000)
	// damage damages a chunk on this machine's disk.
	damage := func(body []byte) {
		files, err := filepath.Glob(filepath.Join(m.data, "state", "*", "cache", "*", objectid.Of(body).String()))
		require.NoError(t, err)
		require.Len(t, files, 1)
		require.NoError(t, os.WriteFile(files[0], append([]byte("x"), body[1:]...), 0o600))
	}
	m.put("f", first)
	m.drain()
	damage(first)
	m.store.setFail(failing(objstore.OpPut, ""))
	m.put("f", second)
	damage(second)
	asked, answer := make(chan struct{}), make(chan struct{})
	look := sync.OnceFunc(func() { close(asked); <-answer })
	goOn := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(goOn)
	m.store.setFail(func(op, key string) error {
		if op == objstore.OpGet && key == objectid.Of(first).Key() {
			look()
		}
		return nil
	})
	<-asked
	m.put("f", []byte("newest"))
	goOn()
	m.drain()
	require.Equal(t, "newest", string(m.get("/f")))
}

// A store that cannot be asked for an earlier content, in place of one that is lost, may have it: the one before that
// was taken.
func TestStoreThatIsAwayMayHaveTheEarlierContent(t *testing.T) {
	for _, when := range []string{"while it runs", "at the start"} {
		t.Run(when, func(t *testing.T) {
			store := newFaultStore()
			other := newMachine(t, store, 1<<20)
			other.put("large", bytes.Repeat([]byte("large"), 500_000))
			other.stop()
			m := &machine{t: t, store: store, data: t.TempDir(), chunk: 1 << 20, name: "a"}
			m.startForTest()
			cached := func(body []byte) string {
				files, err := filepath.Glob(filepath.Join(m.data, "state", "*", "cache", "*", objectid.Of(body).String()))
				require.NoError(t, err)
				require.Len(t, files, 1)
				return files[0]
			}
			zeroth, first, second := bytes.Repeat([]byte("0"), 300_000), bytes.Repeat([]byte("1"), 300_000), bytes.Repeat([]byte("2"), 300_000)
			for _, body := range [][]byte{zeroth, first} {
				m.put("f", body)
				m.drain()
			}
			m.store.setFail(failing(objstore.OpPut, ""))
			m.put("f", second)
			require.NoError(t, m.Persist())
			require.NoError(t, os.Truncate(cached(first), 0)) // where it is open, as on Windows, it could be read on
			require.NoError(t, os.Remove(cached(first)))
			asked := make(chan struct{}, 1000)
			away := func(op, key string) error {
				if op != objstore.OpGet || !strings.HasPrefix(key, "data/") || key == objectid.Of(second).Key() {
					return nil
				}
				if key != objectid.Of(first).Key() { // of "large": it never gives it, whoever asks
					return &objstore.Error{Op: op, Key: key, Kind: objstore.ErrTooLarge, Err: errors.New("forced")}
				}
				asked <- struct{}{}
				return &objstore.Error{Op: op, Key: key, Kind: objstore.ErrPermission, Err: errors.New("forced")}
			}
			damaged := cached(second)
			if when == "at the start" {
				require.Error(t, m.leave())
			}
			require.NoError(t, os.WriteFile(damaged, second[1:], 0o600))
			m.store.setFail(away)
			if when == "at the start" {
				m.start()
			}
			for range 3 { // more than once
				<-asked
			}
			n, err := m.Resolve("/f")
			require.NoError(t, err)
			f, err := m.Open(n, fsimpl.OpenRead)
			require.NoError(t, err)
			_, err = f.ReadAt(make([]byte, 1), 0)
			require.Error(t, err)
			require.NoError(t, f.Release())
			m.store.setFail(func(op, key string) error {
				if key != objectid.Of(first).Key() {
					return away(op, key)
				}
				return nil
			})
			eventually(t, "the earlier content", func() bool {
				f, err := m.Open(n, fsimpl.OpenRead)
				require.NoError(t, err)
				b := make([]byte, 1)
				_, err = f.ReadAt(b, 0)
				return errors.Join(err, f.Release()) == nil && b[0] == '1'
			})
			m.drain()
			require.True(t, bytes.Equal(first, m.get("/f")))
		})
	}
}
