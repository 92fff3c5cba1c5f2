package fsimpl_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
)

func TestFileIsThereAgainAfterARestart(t *testing.T) {
	store := newFaultStore()
	m := newMachine(t, store, 64<<10)
	_, err := m.Mkdir(root, "dir", 0o700, me)
	require.NoError(t, err)
	body := randomBytes(rand.New(rand.NewPCG(1, 1)), 300_000)
	m.put("dir/large", body)
	m.put("small", []byte("hello"))
	m.put("empty", nil)
	m.restart()
	require.Equal(t, body, m.get("dir/large"))
	require.Equal(t, "hello", string(m.get("small")))
	require.Empty(t, m.get("empty"))

	// And on another machine, that has nothing but the bucket.
	other := newMachine(t, store, 1<<20)
	require.Equal(t, body, other.get("/dir/large"))
	require.ElementsMatch(t, []string{"dir", "small", "empty"}, other.names("/"))
	a, err := other.Lookup(root, "dir")
	require.NoError(t, err)
	require.Equal(t, uint32(0o700), a.Mode)
	require.Equal(t, me.UID, a.UID)
}

// TestRandomOperationsOnAFileMatchAByteSlice is the file system exerciser: every
// operation on content in random order, against the simplest model there is.
func TestRandomOperationsOnAFileMatchAByteSlice(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 42))
			const chunk, most = 64 << 10, 700_000
			m := newMachine(t, newFaultStore(), chunk)
			var model []byte
			f := m.create(root, "f")
			reopen := func(flags fsimpl.OpenFlags) {
				n, err := m.Resolve("/f")
				require.NoError(t, err)
				f, err = m.Open(n, flags)
				require.NoError(t, err)
			}
			for step := range 400 {
				switch k := rng.IntN(20); {
				case k < 8:
					off := rng.IntN(most)
					p := randomBytes(rng, rng.IntN([]int{10, 5000, 150_000}[rng.IntN(3)])+1)
					n, err := f.WriteAt(p, int64(off))
					require.NoError(t, err)
					require.Equal(t, len(p), n)
					if grow := off + len(p) - len(model); grow > 0 {
						model = append(model, make([]byte, grow)...)
					}
					copy(model[off:], p)
				case k < 10:
					size := rng.IntN(most)
					require.NoError(t, f.Truncate(int64(size)))
					if size < len(model) {
						model = model[:size]
					} else {
						model = append(model, make([]byte, size-len(model))...)
					}
					model = append([]byte(nil), model...) // nothing of what was cut may come back
				case k < 15:
					off := rng.IntN(most)
					p := bytes.Repeat([]byte{0xEE}, rng.IntN(200_000)+1)
					n, err := f.ReadAt(p, int64(off))
					require.NoError(t, err)
					want := model[min(off, len(model)):min(off+len(p), len(model))]
					if !bytes.Equal(want, p[:n]) {
						t.Fatalf("step %d: read of %d bytes at %d differs", step, len(p), off)
					}
				case k == 15:
					require.NoError(t, f.Flush())
				case k == 16:
					require.NoError(t, f.Sync())
				case k == 17:
					m.close(f)
					reopen(readWrite)
				case k == 18 && rng.IntN(3) == 0:
					m.close(f)
					m.restart()
					reopen(readWrite)
				case k == 19 && rng.IntN(8) == 0:
					m.close(f)
					reopen(readWrite | fsimpl.OpenTruncate)
					model = nil
				}
				a, err := f.Stat()
				require.NoError(t, err)
				require.Equal(t, int64(len(model)), a.Size, "step %d", step)
			}
			m.close(f)
			m.restart()
			require.True(t, bytes.Equal(model, m.get("/f")))
		})
	}
}

func TestUnlinkedOpenFileStaysReadableAndWritable(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	f := m.create(root, "f")
	_, err := f.WriteAt([]byte("before"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Flush())
	n, err := m.Unlink(root, "f")
	require.NoError(t, err)
	require.Equal(t, f.Node(), n)
	require.Empty(t, m.names("/"))
	m.drain()
	_, err = f.WriteAt([]byte(" and after"), 6)
	require.NoError(t, err)
	require.NoError(t, f.Flush())
	a, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, int64(16), a.Size)
	require.Zero(t, a.Nlink)
	require.NoError(t, m.Chmod(n, 0o600))
	require.NoError(t, m.Chown(n, 7, -1))
	a, err = f.Stat()
	require.NoError(t, err)
	require.Equal(t, uint32(0o600), a.Mode)
	require.Equal(t, uint32(7), a.UID)
	require.Equal(t, me.GID, a.GID)
	body, err := readAll(f)
	require.NoError(t, err)
	require.Equal(t, "before and after", string(body))
	require.NoError(t, f.Release())
	m.restart()
	require.Empty(t, m.names("/"))
}

func TestRenameOverAnOpenFileLeavesItsHandleTheOldContent(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	m.put("old", []byte("old content"))
	m.put("new", []byte("new content"))
	n, err := m.Resolve("/old")
	require.NoError(t, err)
	f, err := m.Open(n, readWrite)
	require.NoError(t, err)
	require.NoError(t, m.Rename(root, "new", root, "old", 0))
	require.Equal(t, "new content", string(m.get("/old")))
	body, err := readAll(f)
	require.NoError(t, err)
	require.Equal(t, "old content", string(body))
	_, err = f.WriteAt([]byte("OLD"), 0)
	require.NoError(t, err)
	m.close(f)
	require.Equal(t, "new content", string(m.get("/old")))
	require.Equal(t, []string{"old"}, m.names("/"))
}

func TestRenameOfADirectoryWithOpenChildrenKeepsThem(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	a, err := m.Mkdir(root, "a", 0o755, me)
	require.NoError(t, err)
	f := m.create(a.Node, "f")
	require.NoError(t, m.Rename(root, "a", root, "b", 0))
	_, err = f.WriteAt([]byte("written after the rename"), 0)
	require.NoError(t, err)
	m.close(f)
	require.Equal(t, "written after the rename", string(m.get("/b/f")))
	_, err = m.Resolve("/a/f")
	require.Equal(t, fsimpl.NotExist, fsimpl.KindOf(err))
}

func TestRenameOfALargeDirectoryIsOneSmallIndexUpdate(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	_, err := m.Mkdir(root, "dir", 0o755, me)
	require.NoError(t, err)
	for i := range 500 {
		m.put(fmt.Sprintf("dir/%d", i), []byte(fmt.Sprint(i)))
	}
	m.drain()
	bytesBefore, dataBefore, _ := m.store.uploaded()
	require.NoError(t, m.Rename(root, "dir", root, "renamed", 0))
	m.drain()
	bytesAfter, dataAfter, _ := m.store.uploaded()
	require.Equal(t, dataBefore, dataAfter)
	require.Less(t, bytesAfter-bytesBefore, int64(1000))
	require.Len(t, m.names("/renamed"), 500)
}

func TestSmallWriteIntoALargeFileUploadsLittle(t *testing.T) {
	m := newMachine(t, newFaultStore(), 1<<20)
	rng := rand.New(rand.NewPCG(3, 3))
	body := randomBytes(rng, 20<<20)
	m.put("f", body)
	m.drain()
	before, _, _ := m.store.uploaded()
	n, err := m.Resolve("/f")
	require.NoError(t, err)
	f, err := m.Open(n, readWrite)
	require.NoError(t, err)
	p := randomBytes(rng, 4096)
	_, err = f.WriteAt(p, 10_000_000)
	require.NoError(t, err)
	m.close(f)
	m.drain()
	after, _, _ := m.store.uploaded()
	require.Less(t, after-before, int64(16<<10))
	copy(body[10_000_000:], p)
	m.restart()
	require.True(t, bytes.Equal(body, m.get("/f")))
}

func TestManySmallWritesAreFoldedIntoChunks(t *testing.T) {
	m := newMachine(t, newFaultStore(), 256<<10)
	rng := rand.New(rand.NewPCG(4, 4))
	body := randomBytes(rng, 2<<20)
	m.put("f", body)
	n, err := m.Resolve("/f")
	require.NoError(t, err)
	for range 300 {
		f, err := m.Open(n, readWrite)
		require.NoError(t, err)
		off := rng.IntN(len(body) - 100)
		p := randomBytes(rng, 100)
		_, err = f.WriteAt(p, int64(off))
		require.NoError(t, err)
		copy(body[off:], p)
		m.close(f)
	}
	m.restart()
	require.True(t, bytes.Equal(body, m.get("/f")))
}

func TestHolesCostNothing(t *testing.T) {
	m := newMachine(t, newFaultStore(), 1<<20)
	f := m.create(root, "sparse")
	require.NoError(t, f.Truncate(1<<33))
	_, err := f.WriteAt([]byte("end"), 1<<33-3)
	require.NoError(t, err)
	m.close(f)
	m.drain()
	uploaded, _, _ := m.store.uploaded()
	require.Less(t, uploaded, int64(4096))
	a, err := m.Lookup(root, "sparse")
	require.NoError(t, err)
	require.Equal(t, int64(1), a.Blocks)
	m.restart()
	n, err := m.Resolve("/sparse")
	require.NoError(t, err)
	f, err = m.Open(n, fsimpl.OpenRead)
	require.NoError(t, err)
	p := bytes.Repeat([]byte{1}, 10)
	read, err := f.ReadAt(p, 1<<33-7)
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00\x00end", string(p[:read]))
	require.NoError(t, f.Release())
}

func TestSyncModeClosesWhenTheStoreHasTheFile(t *testing.T) {
	store := newFaultStore()
	m := &machine{t: t, store: store, data: t.TempDir(), chunk: 64 << 10, mode: fsimpl.Sync}
	m.start()
	m.put("f", []byte("at once"))
	other := newMachine(t, store, 64<<10)
	require.Equal(t, "at once", string(other.get("/f")))
	refused := func(op, key string) error {
		return &objstore.Error{Op: op, Key: key, Kind: objstore.ErrPermission, Err: errors.New("forced")}
	}
	store.setFail(refused)
	f := m.create(root, "g")
	_, err := f.WriteAt([]byte("kept"), 0)
	require.NoError(t, err)
	require.ErrorIs(t, f.Flush(), objstore.ErrPermission)
	require.NoError(t, f.Release())
	require.Equal(t, "kept", string(m.get("/g")))
	var left *fsimpl.LeftError
	require.ErrorAs(t, m.leave(), &left)
	store.setFail(nil)
	m.start()
	require.Equal(t, "kept", string(m.get("/g")))
	m.stop()
}

func TestErrorsOfNames(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	dir, err := m.Mkdir(root, "dir", 0o755, me)
	require.NoError(t, err)
	m.put("dir/f", nil)
	m.put("file", nil)
	file, err := m.Resolve("/file")
	require.NoError(t, err)
	try := func(what string, want fsimpl.Kind, err error) {
		t.Helper()
		require.Error(t, err, what)
		require.Equal(t, want, fsimpl.KindOf(err), "%s: %v", what, err)
	}
	_, err = m.Mkdir(root, "dir", 0o755, me)
	try("mkdir of what exists", fsimpl.Exist, err)
	_, err = m.Mkdir(file, "x", 0o755, me)
	try("mkdir in a file", fsimpl.NotDir, err)
	_, err = m.Mkdir(root, strings.Repeat("ä", 128), 0o755, me)
	try("a name of 256 bytes", fsimpl.NameTooLong, err)
	_, err = m.Mkdir(root, strings.Repeat("ä", 127)+"x", 0o755, me)
	require.NoError(t, err, "a name of 255 bytes")
	try("rmdir of a full directory", fsimpl.NotEmpty, m.Rmdir(root, "dir"))
	try("rmdir of a file", fsimpl.NotDir, m.Rmdir(root, "file"))
	_, err = m.Unlink(root, "dir")
	try("unlink of a directory", fsimpl.IsDir, err)
	_, err = m.Unlink(root, "none")
	try("unlink of nothing", fsimpl.NotExist, err)
	try("directory over a file", fsimpl.NotDir, m.Rename(root, "dir", root, "file", 0))
	try("file over a directory", fsimpl.IsDir, m.Rename(root, "file", root, "dir", 0))
	try("directory into itself", fsimpl.Invalid, m.Rename(root, "dir", dir.Node, "x", 0))
	try("rename without replacing", fsimpl.Exist, m.Rename(dir.Node, "f", root, "file", fsimpl.RenameNoReplace))
	_, err = m.Resolve("/" + strings.Repeat("x", 256))
	try("look-up of a name of 256 bytes", fsimpl.NameTooLong, err)
	_, err = m.Open(dir.Node, fsimpl.OpenRead)
	try("open of a directory", fsimpl.IsDir, err)
	_, err = m.Readlink(file)
	try("readlink of a file", fsimpl.Invalid, err)
	f, err := m.Open(file, fsimpl.OpenRead)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("x"), 0)
	try("write through a handle for reading", fsimpl.BadHandle, err)
	require.NoError(t, f.Release())
	try("a file beyond every limit", fsimpl.TooLarge, m.Truncate(file, 1<<62))
	try("a negative size", fsimpl.Invalid, m.Truncate(file, -1))
}

func TestAttributesSurviveARestart(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	m.put("f", []byte("x"))
	n, err := m.Resolve("/f")
	require.NoError(t, err)
	mtime := time.Date(2001, 2, 3, 4, 5, 6, 789_000, time.UTC).UnixMicro()
	created, err := m.Stat(n)
	require.NoError(t, err)
	require.NoError(t, m.Chmod(n, 0o4751))
	changed, err := m.Stat(n)
	require.NoError(t, err)
	require.Greater(t, changed.Ctime, created.Ctime)
	require.NoError(t, m.Chown(n, 12, -1))
	require.NoError(t, m.SetTimes(n, nil, &mtime))
	require.NoError(t, m.SetAttributes(n, 2))
	_, err = m.Symlink(root, "link", "some/where", me)
	require.NoError(t, err)
	_, err = m.Mknod(root, "fifo", loroindex.FIFO, 0o600, 0, me)
	require.NoError(t, err)
	require.NoError(t, m.Chmod(root, 0o700))
	before, err := m.Stat(n)
	require.NoError(t, err)
	m.restart()
	after, err := m.Lookup(root, "f")
	require.NoError(t, err)
	require.Equal(t, before.Ino, after.Ino)
	require.Equal(t, uint32(0o4751), after.Mode)
	require.Equal(t, []uint32{12, me.GID}, []uint32{after.UID, after.GID})
	require.Equal(t, mtime, after.Mtime)
	require.Equal(t, uint32(2), after.Attributes)
	link, err := m.Lookup(root, "link")
	require.NoError(t, err)
	target, err := m.Readlink(link.Node)
	require.NoError(t, err)
	require.Equal(t, "some/where", target)
	fifo, err := m.Lookup(root, "fifo")
	require.NoError(t, err)
	require.Equal(t, loroindex.FIFO, fifo.Kind)
	a, err := m.Stat(root)
	require.NoError(t, err)
	require.Equal(t, uint32(0o700), a.Mode)
}

func TestTimesSetOnAnOpenFileHoldUntilTheNextWrite(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	f := m.create(root, "f")
	_, err := f.WriteAt([]byte("x"), 0)
	require.NoError(t, err)
	mtime := int64(1_000_000_000_000)
	require.NoError(t, m.SetTimes(f.Node(), &mtime, &mtime))
	m.close(f)
	a, err := m.Lookup(root, "f")
	require.NoError(t, err)
	require.Equal(t, mtime, a.Mtime)
	require.Equal(t, mtime, a.Atime)
	require.Equal(t, int64(1), a.Size)
}

func TestNewEntriesInASetGroupIDDirectoryInheritItsGroup(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	d, err := m.Mkdir(root, "d", 0o2775, fsimpl.Owner{UID: 5, GID: 50})
	require.NoError(t, err)
	sub, err := m.Mkdir(d.Node, "sub", 0o755, me)
	require.NoError(t, err)
	require.Equal(t, uint32(0o2755), sub.Mode)
	require.Equal(t, uint32(50), sub.GID)
	require.Equal(t, me.UID, sub.UID)
}

func TestConcurrentWritersOfOneFileAndOfMany(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	shared := m.create(root, "shared")
	var writers sync.WaitGroup
	const each = 40_000
	for w := range 8 {
		writers.Go(func() {
			p := bytes.Repeat([]byte{byte('a' + w)}, 1000)
			for off := 0; off < each; off += len(p) {
				if _, err := shared.WriteAt(p, int64(w*each+off)); err != nil {
					t.Error(err)
				}
				if off%10_000 == 0 {
					if err := shared.Flush(); err != nil {
						t.Error(err)
					}
				}
			}
			for i := range 20 {
				f, _, err := m.Create(root, fmt.Sprintf("own-%d-%d", w, i), 0o600, me, readWrite)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = f.WriteAt(p, 0)
				if err := errors.Join(err, f.Flush(), f.Release()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	m.close(shared)
	m.restart()
	body := m.get("/shared")
	require.Len(t, body, 8*each)
	for w := range 8 {
		require.Equal(t, bytes.Repeat([]byte{byte('a' + w)}, each), body[w*each:(w+1)*each])
	}
	require.Len(t, m.names("/"), 1+8*20)
}

func TestRootOfAFreshMountHasTheModeItWasGiven(t *testing.T) {
	m := &machine{t: t, store: newFaultStore(), data: t.TempDir(), chunk: 64 << 10, rootMode: 0o700}
	m.start()
	m.put("f", nil)
	a, err := m.Stat(root)
	require.NoError(t, err)
	require.Equal(t, uint32(0o700), a.Mode)
	m.stop()
}

func TestOneChangeOfALargeIndexUploadsNoSnapshot(t *testing.T) {
	store := newFaultStore()
	b := indexBucket{store.Store}
	x, err := loroindex.New(loroindex.Options{Device: "before"})
	require.NoError(t, err)
	require.NoError(t, x.Update(func(tx *loroindex.Tx) error {
		for i := range 10_000 {
			if _, err := tx.Create(loroindex.Root, fmt.Sprint("f", i), loroindex.Info{Mode: 0o644, UID: -1, GID: -1}, loroindex.Content{}); err != nil {
				return err
			}
		}
		return nil
	}, nil))
	_, err = x.Publish(t.Context(), b, loroindex.Span{Peer: x.Peer(), End: int32(x.Stats().Ops)})
	require.NoError(t, err)
	_, _, err = x.PublishSnapshot(t.Context(), b, nil)
	require.NoError(t, err)

	m := newMachine(t, store, 64<<10)
	m.put("one more", []byte("new"))
	m.stop()
	bytes, _, _ := store.uploaded()
	require.Less(t, bytes, int64(2<<10))
	m.start()
	require.Equal(t, "new", string(m.get("/one more")))
}
