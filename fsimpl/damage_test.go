package fsimpl_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/objstore"
)

var damages = flag.Int("fsimpl.damages", 12, "how often to damage a journal, of each kind")

// burst is a machine that acknowledged files which the store does not have, and was killed.
type burst struct {
	*machine
	files map[string][]byte
}

// lazyMachine is a machine that syncs when it is asked to.
func lazyMachine(t testing.TB, store *faultStore, data string) *machine {
	return &machine{t: t, store: store, data: data, chunk: 64 << 10, name: "a", syncDelay: time.Hour}
}

// newBurst makes one. With moved some of the files are in the journal's database, and not in its log alone.
func newBurst(t *testing.T, dir string, count int, moved bool) *burst {
	b := &burst{machine: lazyMachine(t, newFaultStore(), filepath.Join(dir, "burst")), files: map[string][]byte{}}
	b.startForTest()
	t.Cleanup(func() { b.store.setFail(nil) })
	b.put("first", []byte("in the store"))
	b.drain()
	b.store.setFail(failing(objstore.OpPut, ""))
	for n := range count {
		if moved && n == count/2 {
			require.Error(t, b.leave()) // everything is in the database
			b.start()
		}
		name, body := fmt.Sprintf("file-%03d", n), fmt.Appendf(nil, "content %d %s", n, strings.Repeat("x", n*7))
		if n%4 == 3 { // as many programs save
			b.put("tmp", body)
			require.NoError(t, b.Rename(root, "tmp", root, name, 0))
		} else {
			b.put(name, body)
		}
		b.files[name] = body
	}
	return b
}

// killed returns a machine that has what b's process would leave if it were killed now, in a directory of its own.
func (b *burst) killed(dir string) *machine {
	n, err := b.Resolve("/first")
	require.NoError(b.t, err)
	f, err := b.Open(n, readWrite)
	require.NoError(b.t, err)
	require.NoError(b.t, f.Sync()) // from then on nothing is written by itself
	b.close(f)
	require.NoError(b.t, os.CopyFS(dir, os.DirFS(b.data)))
	return lazyMachine(b.t, b.store, dir)
}

// losses are the files that are not what they were.
type losses struct {
	missing, wrong, gone int // gone: the content is under no name
}

func (b *burst) compare(m *machine) (l losses) {
	there := map[string]bool{}
	found := map[string][]byte{}
	for _, name := range m.names("/") {
		body, err := m.tryGet("/" + name)
		if err == nil {
			found[name], there[string(body)] = body, true
		}
	}
	for name, want := range b.files {
		body, ok := found[name]
		switch {
		case !ok:
			l.missing++
		case !bytes.Equal(body, want):
			l.wrong++
		}
		if !there[string(want)] {
			l.gone++
		}
	}
	return l
}

// inflict damages one file of a state directory.
var inflict = map[string]func(r *rand.Rand, b []byte){
	"a byte": func(r *rand.Rand, b []byte) { b[r.IntN(len(b))] ^= byte(1 + r.IntN(255)) },
	"4 KiB": func(r *rand.Rand, b []byte) {
		at := r.IntN(len(b)/4096+1) * 4096
		clear(b[min(at, len(b)):min(at+4096, len(b))])
	},
}

// mostOnAPage is how many files two pages of the journal can have all of.
const mostOnAPage = 14

// A page of the journal that is lost costs what was on it, and not what came after it.
func TestDamageOfTheJournalCostsWhatItHits(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "pocket-fsimpl-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const count = 120
	for _, moved := range []bool{false, true} {
		b := newBurst(t, filepath.Join(dir, fmt.Sprint(moved)), count, moved)
		for how, do := range inflict {
			for _, file := range []string{"journal.db", "journal.db-wal"} {
				var sum losses
				hit, worst := 0, 0
				for seed := range uint64(*damages) {
					r := rand.New(rand.NewPCG(seed, 5))
					m := b.killed(filepath.Join(dir, "killed"))
					path, err := filepath.Glob(filepath.Join(m.data, "state", "*", file))
					require.NoError(t, err)
					require.Len(t, path, 1)
					body, err := os.ReadFile(path[0])
					require.NoError(t, err)
					do(r, body)
					require.NoError(t, os.WriteFile(path[0], body, 0o600))
					m.start()
					l := b.compare(m)
					told := m.Notices()
					if l.gone+l.missing+l.wrong > 0 {
						hit++
						require.NotEmpty(t, told)
					}
					require.LessOrEqual(t, l.missing+l.wrong, mostOnAPage, "%s of %s, seed %d: %q", how, file, seed, told)
					worst = max(worst, l.missing)
					sum.missing, sum.wrong, sum.gone = sum.missing+l.missing, sum.wrong+l.wrong, sum.gone+l.gone
					require.Error(t, m.leave())
					require.NoError(t, os.RemoveAll(m.data))
				}
				t.Logf("moved %v, %s of %s: %d of %d runs cost files: "+
					"%d missing (at most %d), %d of other content, %d contents gone",
					moved, how, file, hit, *damages, sum.missing, worst, sum.wrong, sum.gone)
			}
		}
		b.store.setFail(nil)
		b.stop()
	}
}

// madeAgain is a machine with files that the store does not have, of whose journal the entry is lost that made one
// of them. It returns the files, and the content of that one.
func madeAgain(t *testing.T) (m *machine, want map[string]string, lost string) {
	m = lazyMachine(t, newFaultStore(), t.TempDir())
	m.startForTest()
	t.Cleanup(func() { m.store.setFail(nil) })
	m.put("first", []byte("in the store"))
	m.drain()
	m.store.setFail(failing(objstore.OpPut, ""))
	_, err := m.Mkdir(root, "d", 0o755, me)
	require.NoError(t, err)
	want = map[string]string{}
	created := 0
	for n := range 6 {
		if n == 3 {
			created, _ = m.journaled()
		}
		path := fmt.Sprintf("d/%d", n)
		want[path] = strings.Repeat(path, 20_000) // chunks and manifests
		m.put(path, []byte(want[path]))
	}
	require.NoError(t, m.Rename(root, "d", root, "e", 0))
	path := m.state.Journal()
	require.Error(t, m.leave())
	j, err := journal.Open(path, journal.Options{})
	require.NoError(t, err)
	require.NoError(t, j.Replace(t.Context(), []int{created}, nil, "test", nil))
	require.NoError(t, j.Close())
	for n := range 6 {
		path := fmt.Sprintf("d/%d", n)
		want["e"+path[1:]] = want[path]
		delete(want, path)
	}
	lost = want["e/3"]
	delete(want, "e/3")
	return m, want, lost
}

// journaled returns how many changes are not in the store.
func (m *machine) journaled() (int, int64) {
	p := m.Progress()
	return p.Changes, p.Bytes
}

// requireMadeAgain checks that everything of madeAgain is there, once.
func (m *machine) requireMadeAgain(want map[string]string, lost string) {
	m.t.Helper()
	for path, body := range want {
		require.Equal(m.t, body, string(m.get(path)), path)
	}
	require.Len(m.t, m.names("/e"), len(want))
	names := m.names("/")
	require.Len(m.t, names, 3, "%q", names)
	for _, name := range names {
		if name != "e" && name != "first" {
			require.True(m.t, strings.HasPrefix(name, "recovered-"), name)
			require.Equal(m.t, lost, string(m.get(name)))
		}
	}
}

// Whenever the process is killed while it makes changes again, they are there once.
func TestWhatIsMadeAgainIsThereOnce(t *testing.T) {
	m, want, lost := madeAgain(t)
	var before []*machine
	m.store.setFail(func(op, key string) error {
		if op == objstore.OpPut {
			return unavailable(op, key)
		}
		if len(before) < 20 {
			dir := filepath.Join(t.TempDir(), "before")
			require.NoError(t, os.CopyFS(dir, os.DirFS(m.data)))
			before = append(before, lazyMachine(t, m.store, dir))
		}
		return nil
	})
	m.start()
	m.requireMadeAgain(want, lost)
	require.Len(t, m.Notices(), 1)
	require.Contains(t, m.Notices()[0], "made again")
	m.store.setFail(failing(objstore.OpPut, ""))
	require.NotEmpty(t, before)
	after := (&burst{machine: m}).killed(filepath.Join(t.TempDir(), "after"))
	for i, killed := range append(before, after) {
		killed.start()
		killed.requireMadeAgain(want, lost)
		if i == len(before) {
			require.Empty(t, killed.Notices())
		}
		require.Error(t, killed.leave())
	}
	// It goes on from there, and others get it.
	m.put("e/more", []byte("more"))
	want["e/more"] = "more"
	m.store.setFail(nil)
	m.restart()
	require.Empty(t, m.Notices())
	m.requireMadeAgain(want, lost)
	other := newMachine(t, m.store, m.chunk)
	other.requireMadeAgain(want, lost)
}

// What was made again is not made once more when its entries come back, from a page that was damaged since.
func TestWhatWasMadeAgainIsNotMadeOnceMore(t *testing.T) {
	m, want, lost := madeAgain(t)
	path := m.state.Journal()
	before, err := journal.Open(path, journal.Options{})
	require.NoError(t, err)
	left, err := before.Load(t.Context())
	require.NoError(t, err)
	require.NoError(t, before.Close())
	m.start()
	require.Error(t, m.leave())
	j, err := journal.Open(path, journal.Options{})
	require.NoError(t, err)
	now, err := j.Load(t.Context())
	require.NoError(t, err)
	old := left.Entries[len(left.Entries)-5:]
	require.NotEqual(t, old[0].Peer, now.Entries[len(now.Entries)-1].Peer)
	for _, e := range old {
		require.NoError(t, j.Enqueue(e).Wait())
	}
	require.NoError(t, j.Close())
	for range 2 {
		m.start()
		m.requireMadeAgain(want, lost)
		require.Error(t, m.leave())
	}
	// More is lost of the peer that they were made again as, and of the one before: what is left is made again.
	j, err = journal.Open(path, journal.Options{})
	require.NoError(t, err)
	now, err = j.Load(t.Context())
	require.NoError(t, err)
	require.NoError(t, j.Replace(t.Context(), []int{2}, nil, "test", nil))
	require.NoError(t, j.Close())
	m.start()
	for path, body := range want {
		if path != "e/0" {
			require.Equal(t, body, string(m.get(path)), path)
		}
	}
	require.Error(t, m.leave())
	m.store.setFail(nil)
	m.start()
}

// A change that gave a file its content is lost, and the content is not: the upload list has it.
func TestWhatALostChangeWroteIsWrittenAgain(t *testing.T) {
	small, large := "small", strings.Repeat("large", 50_000)
	for name, c := range map[string]struct {
		do   func(m *machine, lose func(do func(), last int)) // last: how many of the changes of do, the last ones
		want map[string]string
		told string
	}{
		"of a small file": {func(m *machine, lose func(func(), int)) {
			lose(func() { m.put("f", []byte(small)) }, 1)
			m.put("next", nil)
			m.put("next", []byte("next"))
		}, map[string]string{"f": small, "next": "next"}, "/f: "},
		"of a file that may have been larger": {func(m *machine, lose func(func(), int)) {
			lose(func() { m.put("f", []byte(small)) }, 1)
		}, map[string]string{"f": "", "recovered-": small}, "/recovered-"},
		"of a file of which only a part is on the list": {func(m *machine, lose func(func(), int)) {
			m.put("f", []byte("before"))
			lose(func() { m.put("f", []byte(large)) }, 1)
			m.put("next", []byte("next"))
		}, map[string]string{"f": "before", "next": "next", "recovered-": large[:64<<10]}, "/recovered-"},
		"of a large file": {func(m *machine, lose func(func(), int)) {
			lose(func() { m.put("f", []byte(large)) }, 1)
		}, map[string]string{"f": large}, "/f: "},
		"and the one that made the file": {func(m *machine, lose func(func(), int)) {
			lose(func() { m.put("f", []byte(large)) }, 9)
		}, map[string]string{"recovered-": large}, "/recovered-"},
		"of a file that was removed": {func(m *machine, lose func(func(), int)) {
			lose(func() { m.put("f", []byte(small)) }, 1)
			_, err := m.Unlink(root, "f")
			require.NoError(m.t, err)
		}, map[string]string{}, ""},
		"and the one that made a file that was removed": {func(m *machine, lose func(func(), int)) {
			lose(func() { m.put("f", []byte(small)) }, 9)
			_, err := m.Unlink(root, "f")
			require.NoError(m.t, err)
		}, map[string]string{}, ""},
		"of a file that was written later": {func(m *machine, lose func(func(), int)) {
			lose(func() { m.put("f", []byte("before")) }, 1)
			m.put("f", []byte(small))
		}, map[string]string{"f": small}, ""},
		"of a file that was written before": {func(m *machine, lose func(func(), int)) {
			m.put("f", []byte("before"))
			lose(func() { m.put("f", []byte(small)) }, 1)
			m.put("next", []byte("next"))
		}, map[string]string{"f": small, "next": "next"}, "/f: "},
		"of a file that was written long before": {func(m *machine, lose func(func(), int)) {
			lose(func() { m.put("first", []byte(large)) }, 1)
		}, map[string]string{"first": large}, "/first: "},
		"of a file that is not where it was": {func(m *machine, lose func(func(), int)) {
			lose(func() { m.put("f", []byte(small)) }, 1)
			m.put("other", []byte("other"))
			require.NoError(m.t, m.Rename(root, "f", root, "g", 0))
		}, map[string]string{"g": small, "other": "other"}, "/g: "},
		"of one that replaced another": {func(m *machine, lose func(func(), int)) {
			m.put("f", []byte("before"))
			m.put("tmp", []byte(small))
			lose(func() { require.NoError(m.t, m.Rename(root, "tmp", root, "f", 0)) }, 1)
		}, map[string]string{"f": "before", "tmp": small}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := lazyMachine(t, newFaultStore(), t.TempDir())
			m.startForTest()
			t.Cleanup(func() { m.store.setFail(nil) })
			m.put("first", []byte("in the store"))
			m.drain()
			m.store.setFail(failing(objstore.OpPut, ""))
			var places []int
			c.do(m, func(do func(), last int) {
				from, _ := m.journaled()
				do()
				to, _ := m.journaled()
				for n := max(from, to-last); n < to; n++ {
					places = append(places, n)
				}
			})
			path := m.state.Journal()
			require.Error(t, m.leave())
			j, err := journal.Open(path, journal.Options{})
			require.NoError(t, err)
			require.NoError(t, j.Replace(t.Context(), places, nil, "journal: suspect", []byte{1}))
			if strings.Contains(name, "only a part") {
				left, err := j.Load(t.Context())
				require.NoError(t, err)
				first := slices.IndexFunc(left.Uploads, func(u journal.Upload) bool { return u.Size == 64<<10 })
				for _, u := range left.Uploads[first+1:] {
					if u.Node == left.Uploads[first].Node {
						j.Uploaded(u.Object)
					}
				}
			}
			require.NoError(t, j.Close())
			if _, ok := c.want["first"]; !ok {
				c.want["first"] = "in the store"
			}
			check := func(m *machine) {
				t.Helper()
				found := map[string]string{}
				for _, name := range m.names("/") {
					body := string(m.get("/" + name))
					if strings.HasPrefix(name, "recovered-") {
						name = "recovered-"
					}
					found[name] = body
				}
				require.Equal(t, c.want, found)
			}
			m.start()
			check(m)
			if c.told != "" {
				require.Contains(t, strings.Join(m.Notices(), "\n"), c.told)
			}
			_ = m.leave()
			m.start()
			require.Empty(t, m.Notices())
			check(m)
			m.store.setFail(nil)
			m.restart()
			check(m)
			check(newMachine(t, m.store, m.chunk))
		})
	}
}
