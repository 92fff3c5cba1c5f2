package fsimpl_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/memstore"
)

// readStore counts what is read of data/ and can keep the answers back.
type readStore struct {
	objstore.Store
	mu      sync.Mutex
	gets    map[string]int                      // guarded by mu
	changed chan struct{}                       // closed and replaced with every Get; guarded by mu
	answer  func(context.Context, string) error // asked before every answer, may block; guarded by mu
}

func newReadStore() *readStore {
	return &readStore{Store: memstore.New(), gets: map[string]int{}, changed: make(chan struct{})}
}

func (s *readStore) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	if !strings.HasPrefix(key, "data/") {
		return s.Store.Get(ctx, key, max)
	}
	s.mu.Lock()
	s.gets[key]++
	close(s.changed)
	s.changed = make(chan struct{})
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, key); err != nil {
			return nil, err
		}
	}
	return s.Store.Get(ctx, key, max)
}

// asked reports whether an object was asked for.
func (s *readStore) asked(id objectid.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets[id.Key()] > 0
}

// setAnswer changes what is asked before an answer.
func (s *readStore) setAnswer(answer func(context.Context, string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// total returns how many objects of data/ were asked for, and how often.
func (s *readStore) total() (objects, gets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.gets {
		gets += n
	}
	return len(s.gets), gets
}

// waitFor waits until objects were asked for.
func (s *readStore) waitFor(t *testing.T, ids ...objectid.ID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, id := range ids {
		for {
			s.mu.Lock()
			there, changed := s.gets[id.Key()] > 0, s.changed
			s.mu.Unlock()
			if there {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatalf("nobody asked for %s", id)
			}
		}
	}
}

// readUntilAsked reads a file until somebody asks for an object: what is too much at once is left to a later read.
func (m *machine) readUntilAsked(store *readStore, id objectid.ID, path string) {
	m.t.Helper()
	end := time.Now().Add(2 * time.Minute)
	for !store.asked(id) {
		require.True(m.t, time.Now().Before(end), "nobody asked for %s", id)
		m.get(path)
	}
}

// written returns a store with what write puts into it.
func written(t *testing.T, chunk int64, write func(*machine)) *readStore {
	store := newReadStore()
	m := newMachine(t, &faultStore{Store: store, puts: map[string]int{}}, chunk)
	write(m)
	m.stop()
	return store
}

// reader returns a machine that has nothing of the store yet.
func reader(t *testing.T, store *readStore, chunk int64) *machine {
	return newMachine(t, &faultStore{Store: store, puts: map[string]int{}}, chunk)
}

func (m *machine) open(path string) *fsimpl.File {
	m.t.Helper()
	n, err := m.Resolve(path)
	require.NoError(m.t, err)
	f, err := m.Open(n, fsimpl.OpenRead)
	require.NoError(m.t, err)
	return f
}

func TestManifestAndFirstChunkAreFetchedAtOnce(t *testing.T) {
	const chunk = 64 << 10
	body := randomBytes(rand.New(rand.NewPCG(1, 1)), 3*chunk)
	store := written(t, chunk, func(m *machine) { m.put("large", body) })
	m := reader(t, store, chunk)
	first := objectid.Of(body[:chunk])
	asked := make(chan struct{}, 8)
	both := make(chan struct{})
	store.setAnswer(func(ctx context.Context, key string) error {
		asked <- struct{}{}
		select {
		case <-both:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	f := m.open("large")
	done := make(chan error, 1)
	p := make([]byte, 100)
	go func() {
		_, err := f.ReadAt(p, 0)
		done <- err
	}()
	<-asked
	<-asked // nothing was answered yet
	store.waitFor(t, first)
	close(both)
	require.NoError(t, <-done)
	require.Equal(t, body[:100], p)
	require.NoError(t, f.Release())
}

// Who looks at the beginning of a large file waits for no whole chunk, however the file was written, and one content is
// one set of objects.
func TestBeginningOfALargeFileIsAnObjectOfItsOwn(t *testing.T) {
	const chunk, head = 1 << 20, 256 << 10
	body := randomBytes(rand.New(rand.NewPCG(1, 3)), 2*chunk+5)
	write := func(m *machine, name string, parts ...int) {
		n, err := m.Resolve(name)
		require.NoError(t, err)
		f, err := m.Open(n, readWrite)
		require.NoError(t, err)
		for i := range parts[1:] {
			from, to := parts[i], parts[i+1]
			_, err = f.WriteAt(body[min(from, to):max(from, to)], int64(min(from, to)))
			require.NoError(t, err)
			if i%2 == 1 {
				require.NoError(t, f.Flush())
			}
		}
		require.NoError(t, f.Release())
	}
	store := written(t, chunk, func(m *machine) {
		m.put("written", body)
		m.drain()
		_, data, _ := m.store.uploaded()
		m.put("again", body)
		m.drain()
		_, now, _ := m.store.uploaded()
		require.Equal(t, data, now)
		m.put("in parts", nil)
		m.put("backwards", nil)
		write(m, "in parts", 0, 100, head, head+5, chunk, chunk+10, len(body))
		write(m, "backwards", len(body), chunk+10, chunk, head+5, head, 100, 0)
		m.put("over another", randomBytes(rand.New(rand.NewPCG(1, 4)), 3*chunk))
		write(m, "over another", 0, len(body))
		m.put("folded", body)
		for at := 5000; at < 5000+100*6000; at += 6000 {
			write(m, "folded", at, at+10)
		}
	})
	for _, name := range []string{"written", "over another", "folded"} {
		store.mu.Lock()
		clear(store.gets)
		store.mu.Unlock()
		m := reader(t, store, chunk)
		f := m.open(name)
		p := make([]byte, 4096)
		_, err := f.ReadAt(p, 0)
		require.NoError(t, err)
		require.NoError(t, f.Release())
		require.Equal(t, body[:4096], p)
		require.True(t, store.asked(objectid.Of(body[:head])), name)
		objects, _ := store.total()
		require.Equal(t, 2, objects, "%s: its manifest and its beginning", name)
		m.stop()
	}
	m := reader(t, store, chunk)
	for _, name := range []string{"written", "in parts", "backwards", "folded"} {
		require.Equal(t, body, m.get(name), name)
	}
}

func TestReadFarIntoAFileDoesNotFetchItsFirstChunk(t *testing.T) {
	const chunk = 64 << 10
	body := randomBytes(rand.New(rand.NewPCG(1, 2)), 80*chunk)
	store := written(t, chunk, func(m *machine) { m.put("large", body) })
	m := reader(t, store, chunk)
	f := m.open("large")
	p := make([]byte, 100)
	_, err := f.ReadAt(p, 60*chunk)
	require.NoError(t, err)
	require.NoError(t, f.Release())
	m.stop()
	_, gets := store.total()
	require.Equal(t, 2, gets, "the manifest and one chunk")
}

func TestSequentialReaderHasTheRestFetchedAhead(t *testing.T) {
	const chunk = 64 << 10
	body := randomBytes(rand.New(rand.NewPCG(1, 3)), 100*chunk)
	store := written(t, chunk, func(m *machine) { m.put("large", body) })
	m := reader(t, store, chunk)
	f := m.open("large")
	p := make([]byte, chunk)
	for n := range 4 {
		_, err := f.ReadAt(p, int64(n)*chunk)
		require.NoError(t, err)
	}
	for n := 4; n < 4+16; n++ { // 1 MiB and doubled with every read
		store.waitFor(t, objectid.Of(body[n*chunk:][:chunk]))
	}
	require.NoError(t, f.Release())
}

// The first bytes have the link for themselves.
func TestNothingIsFetchedAheadOfTheFirstBytes(t *testing.T) {
	const chunk = 64 << 10
	body := randomBytes(rand.New(rand.NewPCG(1, 30)), 100*chunk)
	store := written(t, chunk, func(m *machine) { m.put("large", body) })
	m := reader(t, store, chunk)
	first := objectid.Of(body[:chunk])
	asked, release := make(chan struct{}), make(chan struct{})
	ask := sync.OnceFunc(func() { close(asked) }) // it is asked for again when the store is silent for long
	store.setAnswer(func(_ context.Context, key string) error {
		if key == first.Key() {
			ask()
			<-release
		}
		return nil
	})
	f := m.open("large")
	var readers sync.WaitGroup
	for part := range int64(4) { // as the kernel asks
		readers.Go(func() {
			_, err := f.ReadAt(make([]byte, chunk/4), part*chunk/4)
			assert.NoError(t, err)
		})
	}
	<-asked
	_, gets := store.total()
	assert.LessOrEqual(t, gets, 2, "the manifest and the first chunk")
	close(release)
	readers.Wait()
	_, err := f.ReadAt(make([]byte, chunk), chunk)
	require.NoError(t, err)
	store.waitFor(t, objectid.Of(body[8*chunk:][:chunk]))
	require.NoError(t, f.Release())
}

func TestReadsHereAndThereFetchTheRestOnceTheyWantMuchOfIt(t *testing.T) {
	const chunk = 64 << 10
	body := randomBytes(rand.New(rand.NewPCG(1, 4)), 128*chunk)
	store := written(t, chunk, func(m *machine) { m.put("large", body) })
	m := reader(t, store, chunk)
	f := m.open("large")
	p := make([]byte, 100)
	// None is within 1 MiB of the one before it, which would be a sequential reader.
	places := []int{30, 60, 90, 120, 40, 80, 110, 50, 100, 70, 35, 125, 65, 95, 45, 85, 115, 55, 105, 75}
	read := func(n int) {
		_, err := f.ReadAt(p, int64(n)*chunk)
		require.NoError(t, err)
		require.Equal(t, body[n*chunk:][:100], p)
	}
	for _, n := range places[:7] {
		read(n)
	}
	_, gets := store.total()
	require.LessOrEqual(t, gets, 1+7, "few reads fetch what they need")
	for _, n := range places[7:] {
		read(n)
	}
	_, gets = store.total()
	require.LessOrEqual(t, gets, 1+20+2*13, "each further read has two more fetched")
	for end := time.Now().Add(2 * time.Minute); gets < 1+128; _, gets = store.total() {
		for _, n := range places {
			read(n)
		}
		require.True(t, time.Now().Before(end), "%d were fetched", gets)
	}
	require.NoError(t, f.Release())
	m.stop()
	objects, gets := store.total()
	require.Equal(t, 1+128, objects)
	require.Equal(t, 1+128, gets, "each once")
}

// directory is a store with a folder of files, small ones of 1000 bytes each.
func directory(t *testing.T, files int) (*readStore, []string, [][]byte) {
	rng := rand.New(rand.NewPCG(2, 1))
	var names []string
	var bodies [][]byte
	store := written(t, 64<<10, func(m *machine) {
		_, err := m.Mkdir(root, "dir", 0o755, me)
		require.NoError(t, err)
		for _, n := range rng.Perm(files) { // so that the listing has another order than the names
			name := fmt.Sprintf("%c%03d", "fF"[n%2], n)
			names = append(names, name)
			bodies = append(bodies, randomBytes(rng, 1000))
			m.put("dir/"+name, bodies[len(bodies)-1])
		}
	})
	return store, names, bodies
}

func TestSiblingsAreFetchedAheadInTheOrderInWhichTheyAreRead(t *testing.T) {
	const files = 200
	store, names, bodies := directory(t, files)
	for order, compare := range map[string]func(a, b loroindex.DirEntry) int{
		"names": func(a, b loroindex.DirEntry) int { return strings.Compare(a.Name, b.Name) },
		"letters": func(a, b loroindex.DirEntry) int {
			return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
		},
		"backward": func(a, b loroindex.DirEntry) int { return strings.Compare(b.Name, a.Name) },
		"inodes":   func(a, b loroindex.DirEntry) int { return cmp.Compare(a.Ino, b.Ino) },
		"listing":  nil,
	} {
		store.mu.Lock()
		clear(store.gets)
		store.mu.Unlock()
		m := reader(t, store, 64<<10)
		n, err := m.Resolve("dir")
		require.NoError(t, err)
		d, err := m.OpenDir(n)
		require.NoError(t, err)
		entries := slices.Clone(d.Entries())
		if compare != nil {
			slices.SortFunc(entries, compare)
		}
		body := func(i int) []byte { return bodies[slices.Index(names, entries[i].Name)] }
		for i := range 12 {
			require.Equal(t, body(i), m.get("dir/"+entries[i].Name), order)
		}
		for i := 12; i < 12+4*8; i++ {
			m.readUntilAsked(store, objectid.Of(body(i)), "dir/"+entries[11].Name)
		}
		m.stop()
		objects, gets := store.total()
		require.Equal(t, objects, gets, order)
		require.LessOrEqual(t, objects, 12+12*4+20, "%s: the window follows what was read", order)
	}
}

func TestBeginningsOfLargeSiblingsAreFetchedAhead(t *testing.T) {
	const chunk, files = 64 << 10, 8
	rng := rand.New(rand.NewPCG(2, 3))
	var bodies [files][]byte
	store := written(t, chunk, func(m *machine) {
		for n := range files {
			bodies[n] = randomBytes(rng, 3*chunk)
			m.put(fmt.Sprint(n), bodies[n])
		}
	})
	m := reader(t, store, chunk)
	for n := range 2 {
		require.Equal(t, bodies[n], m.get(fmt.Sprint(n)))
	}
	store.waitFor(t, objectid.Of(bodies[2][:chunk]), objectid.Of(bodies[3][:chunk]))
	m.stop()
	store.mu.Lock()
	defer store.mu.Unlock()
	for n := 2; n < files; n++ {
		require.Zero(t, store.gets[objectid.Of(bodies[n][chunk:2*chunk]).Key()], "not the rest")
	}
}

func TestTreeThatIsReadThroughIsFetchedAheadFromEachFirstFile(t *testing.T) {
	const dirs, files = 20, 8
	rng := rand.New(rand.NewPCG(2, 2))
	var bodies [dirs][files][]byte
	store := written(t, 64<<10, func(m *machine) {
		for d := range dirs {
			_, err := m.Mkdir(root, fmt.Sprintf("%02d", d), 0o755, me)
			require.NoError(t, err)
			for n := range files {
				bodies[d][n] = randomBytes(rng, 1000)
				m.put(fmt.Sprintf("%02d/%d", d, n), bodies[d][n])
			}
		}
	})
	m := reader(t, store, 64<<10)
	for d := range dirs - 1 {
		for n := range files {
			require.Equal(t, bodies[d][n], m.get(fmt.Sprintf("%02d/%d", d, n)))
		}
	}
	for n := range files {
		m.readUntilAsked(store, objectid.Of(bodies[dirs-1][n]), fmt.Sprintf("%02d/0", dirs-1))
	}
}

func TestDescribingFilesFetchesNothing(t *testing.T) {
	store, names, _ := directory(t, 50)
	m := reader(t, store, 64<<10)
	for _, name := range names {
		n, err := m.Resolve("dir/" + name)
		require.NoError(t, err)
		_, err = m.Stat(n)
		require.NoError(t, err)
		require.NoError(t, m.open("dir/"+name).Release())
	}
	m.stop()
	_, gets := store.total()
	require.Zero(t, gets)
}

func TestOneFileFetchesNoOther(t *testing.T) {
	store, names, bodies := directory(t, 50)
	m := reader(t, store, 64<<10)
	for range 5 {
		require.Equal(t, bodies[7], m.get("dir/"+names[7]))
	}
	m.stop()
	_, gets := store.total()
	require.Equal(t, 1, gets)
}

func TestFilesReadHereAndThereFetchFewOthers(t *testing.T) {
	store, names, _ := directory(t, 400)
	m := reader(t, store, 64<<10)
	read := 0
	for i := 0; i < 400; i += 40 {
		m.get("dir/" + names[i])
		read++
	}
	m.stop()
	objects, _ := store.total()
	require.LessOrEqual(t, objects, 5*read)
}

func TestObjectsOfALargerChunkSizeAreAskedForOnce(t *testing.T) {
	const chunk = 1 << 20
	body := randomBytes(rand.New(rand.NewPCG(4, 1)), 3*chunk+5)
	store := written(t, chunk, func(m *machine) { m.put("large", body) })
	m := reader(t, store, chunk/8)
	require.Equal(t, body, m.get("large"))
	m.stop()
	objects, gets := store.total()
	require.Equal(t, 6, objects, "four chunks, the first in two objects, and a manifest")
	require.LessOrEqual(t, gets, 7, "but the first, before its size is known")
}

func TestOutageThatWasWaitedForOnceIsNotWaitedForAgain(t *testing.T) {
	store, names, bodies := directory(t, 20)
	m := reader(t, store, 64<<10)
	store.setAnswer(func(_ context.Context, key string) error { return unavailable(objstore.OpGet, key) })
	_, err := m.tryGet("dir/" + names[0])
	require.Equal(t, fsimpl.IO, fsimpl.KindOf(err))
	for i := 1; i < 6; i++ {
		_, err := m.tryGet("dir/" + names[i])
		require.Equal(t, fsimpl.IO, fsimpl.KindOf(err))
	}
	store.mu.Lock()
	for i := 1; i < 6; i++ {
		require.LessOrEqual(t, store.gets[objectid.Of(bodies[i]).Key()], 1, "it is known that the store does not answer: it is asked whether that is still so")
	}
	store.mu.Unlock()
	store.setAnswer(nil)
	for end := time.Now().Add(2 * time.Minute); ; { // every read asks whether the store is back
		body, err := m.tryGet("dir/" + names[5])
		if err == nil {
			require.Equal(t, bodies[5], body)
			break
		}
		require.True(t, time.Now().Before(end))
	}
}

func TestSmallFileIsWrittenInPartWhileTheRestOfItCannotBeRead(t *testing.T) {
	const chunk = 64 << 10
	body := randomBytes(rand.New(rand.NewPCG(3, 1)), 5000)
	store := written(t, chunk, func(m *machine) { m.put("small", body) })
	m := reader(t, store, chunk)
	store.setAnswer(func(_ context.Context, key string) error { return unavailable(objstore.OpGet, key) })
	write := func(text string, off int64) {
		n, err := m.Resolve("small")
		require.NoError(t, err)
		f, err := m.Open(n, readWrite)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte(text), off)
		require.NoError(t, err)
		m.close(f)
		copy(body[off:], text)
	}
	write("in the middle", 2000)
	write("and again", 2005)
	store.setAnswer(nil)
	m.stop()
	other := reader(t, store, chunk)
	require.Equal(t, body, other.get("small"))

	// The next change makes it one object.
	m.start()
	write("whole", 0)
	m.stop()
	store.setAnswer(func(_ context.Context, key string) error {
		if key == objectid.Of(body).Key() {
			return nil
		}
		return unavailable(objstore.OpGet, key)
	})
	require.Equal(t, body, reader(t, store, chunk).get("small"))
}

func TestBytesInMemoryAreThoseOfReadAtOrNone(t *testing.T) {
	const chunk, size = 128 << 10, 5*(128<<10) + 77
	body := randomBytes(rand.New(rand.NewPCG(1, 9)), size)
	store := written(t, chunk, func(m *machine) {
		m.put("large", body)
		f := m.create(fsimpl.Root, "sparse")
		require.NoError(t, f.Truncate(4*chunk))
		_, err := f.WriteAt(body[:chunk], 0)
		require.NoError(t, err)
		m.close(f)
	})
	m := reader(t, store, chunk)
	f := m.open("large")
	p := make([]byte, 4096)
	held, _ := f.InMemory(len(p), 0)
	require.Nil(t, held, "nothing was read yet")
	_, err := f.ReadAt(p, 0)
	require.NoError(t, err)
	found := 0
	for _, at := range []struct{ off, n, want int64 }{
		{0, 4096, 4096}, {1, 128<<10 - 1, 128<<10 - 1}, {chunk - 100, 100, 100}, {chunk, 1, 1},
		{5 * chunk, 4096, 77}, {size - 1, 4096, 1}, {chunk - 1, 2, 0}, {size, 1, 0}, {size + chunk, 1, 0}, {-1, 10, 0}, {0, 0, 0},
	} {
		p := make([]byte, max(at.n, 1))
		if at.want > 0 { // have it fetched
			n, err := f.ReadAt(p[:at.n], at.off)
			require.NoError(t, err)
			require.EqualValues(t, at.want, n)
		}
		held, got := f.InMemory(int(at.n), at.off)
		if held == nil {
			require.Zero(t, at.want, "byte %d: it was read just now", at.off)
			continue
		}
		found++
		require.Equal(t, body[at.off:at.off+at.want], got)
		held.Release()
	}
	require.Equal(t, 6, found)

	w, err := m.Open(f.Node(), fsimpl.OpenRead|fsimpl.OpenWrite)
	require.NoError(t, err)
	_, err = w.WriteAt([]byte("new"), 10)
	require.NoError(t, err)
	held, _ = f.InMemory(100, 0)
	require.Nil(t, held, "it is not what was written")
	require.NoError(t, w.Release())
	require.NoError(t, f.Release())

	f = m.open("sparse")
	_, err = f.ReadAt(p, 0)
	require.NoError(t, err)
	held, _ = f.InMemory(100, 2*chunk)
	require.Nil(t, held, "a hole is in no object")
	require.NoError(t, f.Release())
}

// What the first Pocket wrote as one object that is too large for this one can be told from a fault of the store.
func TestObjectThatIsTooLargeIsToldWithWhatToDo(t *testing.T) {
	store := newFaultStore()
	b := indexBucket{store.Store}
	x, err := loroindex.New(loroindex.Options{Device: "before"})
	require.NoError(t, err)
	object := objectid.Of([]byte("large"))
	require.NoError(t, x.Update(func(tx *loroindex.Tx) error {
		_, err := tx.Create(loroindex.Root, "large", loroindex.Info{Mode: 0o644, UID: -1, GID: -1}, loroindex.Content{Size: 1<<30 + 1, Object: object})
		return err
	}, nil))
	_, err = x.Publish(t.Context(), b, loroindex.Span{Peer: x.Peer(), End: int32(x.Stats().Ops)})
	require.NoError(t, err)
	m := newMachine(t, store, 64<<10)
	_, err = m.tryGet("/large")
	require.Equal(t, fsimpl.IO, fsimpl.KindOf(err))
	require.ErrorContains(t, err, "fetch "+object.Key()+" with another program")
}
