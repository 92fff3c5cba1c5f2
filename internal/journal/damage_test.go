package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// memoryDir returns an empty directory, in memory if there is such a place: opening a journal syncs, which
// takes long on a disk.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pocket-journal-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// copyKilled copies the files of an open journal as the end of its process leaves them.
func copyKilled(t testing.TB, from, to string, suffixes ...string) {
	t.Helper()
	if len(suffixes) == 0 {
		suffixes = files
	}
	for _, suffix := range suffixes {
		b, err := os.ReadFile(from + suffix)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to+suffix, b, 0o600))
	}
}

// change is an entry of the size of most.
func change(n int) Entry {
	e := entry(1, n, Upload{Object: objectOf(n), Size: 1})
	e.Update = append(e.Update, make([]byte, 100+n*7%150)...)
	return e
}

// burst returns a journal with entries of which no sync knows, each of a transaction of its own, and the
// bytes of its log.
func burst(t *testing.T, count int) (path string, log []byte) {
	path = filepath.Join(memoryDir(t), "journal.db")
	j := open(t, path, Options{SyncDelay: time.Hour, Boot: "one"})
	for n := range count {
		require.NoError(t, j.Enqueue(change(n)).Wait())
	}
	log, err := os.ReadFile(path + "-wal")
	require.NoError(t, err)
	return path, log
}

// there returns which entries are in a journal, each of which must be what it was.
func there(t *testing.T, j *Journal) map[int]bool {
	t.Helper()
	found := map[int]bool{}
	last := -1
	for _, e := range load(t, j).Entries {
		n := int(e.Start)
		require.Greater(t, n, last)
		require.Equal(t, stripped(change(n)), e)
		found[n], last = true, n
	}
	return found
}

// Damage of the log was taken for what a power loss leaves where no sync had come after it: all from there
// on was lost without a word.
func TestDamageAfterTheEndOfAProcessIsFoundWithoutASync(t *testing.T) {
	const count = 120
	path, log := burst(t, count)
	frames := (len(log) - walHeader) / frameSize
	require.Greater(t, frames, 2*count)
	r := rand.New(rand.NewPCG(7, 7))
	zero := func(b []byte, at, size int) { clear(b[at:min(len(b), at+size)]) }
	type damage struct {
		name  string
		most  int  // that it may cost
		alone bool // it shows without the log's index
		do    func(b []byte) []byte
	}
	var damages []damage
	add := func(most int, do func(b []byte) []byte, name string, args ...any) {
		alone := len(damages) < frames-3 || strings.Contains(name, "header") // not in the last transaction
		damages = append(damages, damage{fmt.Sprintf(name, args...), most, alone, do})
	}
	for n := range frames {
		at := walHeader + n*frameSize + r.IntN(frameSize)
		add(1, func(b []byte) []byte { b[at] ^= byte(1 + r.IntN(255)); return b }, "a byte of frame %d, at %d", n, at)
	}
	for n := 0; n < len(log); n += 4096 {
		add(3, func(b []byte) []byte { zero(b, n, 4096); return b }, "a page of zeros at %d", n)
	}
	for n := range walHeader {
		add(0, func(b []byte) []byte { b[n] ^= 0x40; return b }, "byte %d of the header", n)
	}
	add(0, func(b []byte) []byte { zero(b, 0, walHeader); return b }, "the header")
	add(4, func(b []byte) []byte { zero(b, 0, walHeader+frameSize+9); return b }, "the header and what follows")
	add(1, func(b []byte) []byte { zero(b, len(b)-frameSize, frameSize); return b }, "the last frame")
	add(1, func(b []byte) []byte { return b[:len(b)-frameSize] }, "cut by a frame")
	add(1, func(b []byte) []byte { return b[:len(b)-1] }, "cut by a byte")
	add(count-20, func(b []byte) []byte { return b[:walHeader+frames/2*frameSize] }, "cut in the middle")
	for n := range 20 {
		add(12, func(b []byte) []byte {
			for range 6 {
				b[walHeader+r.IntN(len(b)-walHeader)] ^= 0x10
			}
			return b
		}, "six places, %d", n)
	}
	dir := memoryDir(t)
	for n, d := range damages {
		damaged := filepath.Join(dir, fmt.Sprint(n))
		copyKilled(t, path, damaged)
		if d.alone && n%3 == 0 {
			require.NoError(t, os.Remove(damaged+"-shm")) // what was committed shows in the frames, too
		}
		b := d.do(bytes.Clone(log))
		require.NoError(t, os.WriteFile(damaged+"-wal", b, 0o600))
		j, aside := openDamaged(t, damaged, Options{Boot: "one"})
		kept, err := os.ReadFile(aside + "-wal")
		require.NoError(t, err, d.name)
		require.Equal(t, b, kept, d.name)
		require.GreaterOrEqual(t, len(there(t, j)), count-d.most, d.name)
		require.NoError(t, j.Close())
		for _, left := range []string{".mend*", ".salvage*"} {
			left, err := filepath.Glob(damaged + left)
			require.NoError(t, err)
			require.Empty(t, left)
		}
	}
}

// A frame that cannot be read costs the one change of which it alone had something, whatever was on it.
func TestALostFrameCostsOneChange(t *testing.T) {
	const moved = 25
	for _, count := range []int{3, 12, 40} {
		dir := memoryDir(t)
		path := filepath.Join(dir, "journal.db")
		j := open(t, path, Options{SyncDelay: time.Hour, Boot: "one"})
		objects := []IndexObject{{Key: "a", Body: []byte("body")}, {Key: "b", File: "file", Size: 7}}
		require.NoError(t, j.UpdateIndexObjects(ctx, objects, nil, false))
		require.NoError(t, j.SetMeta(ctx, "fact", []byte("value")))
		for n := range moved {
			require.NoError(t, j.Enqueue(change(n)).Wait())
		}
		_, _, err := j.db.main.checkpoint("TRUNCATE")
		require.NoError(t, err)
		for n := range count {
			require.NoError(t, j.Enqueue(change(moved+n)).Wait())
		}
		log, err := os.ReadFile(path + "-wal")
		require.NoError(t, err)
		for at := walHeader; at < len(log); at += frameSize {
			damaged := filepath.Join(dir, "damaged.db")
			copyKilled(t, path, damaged)
			b := bytes.Clone(log)
			clear(b[at : at+frameSize])
			require.NoError(t, os.WriteFile(damaged+"-wal", b, 0o600))
			again, _ := openDamaged(t, damaged, Options{Boot: "one"})
			require.GreaterOrEqual(t, len(there(t, again)), moved+count-1, "frame at %d, %d changes", at, count)
			require.Equal(t, "value", string(again.GetMeta("fact")))
			var found []IndexObject
			for o, err := range again.IndexObjects(ctx) {
				require.NoError(t, err)
				found = append(found, o)
			}
			require.Len(t, found, 2)
			require.Equal(t, "body", string(found[0].Body))
			require.Equal(t, "file", found[1].File)
			require.NoError(t, again.Close())
			left, err := filepath.Glob(damaged + "*")
			require.NoError(t, err)
			for _, path := range left {
				require.NoError(t, os.Remove(path))
			}
		}
	}
}

// Of a page that is damaged the entries are used that are what they say, where they are nowhere else.
func TestEntriesOfADamagedPageAreUsed(t *testing.T) {
	const count = 60
	path, log := burst(t, count)
	r := rand.New(rand.NewPCG(9, 9))
	check := func(e Entry) error {
		if want := change(int(e.Start)); !bytes.Equal(want.Update, e.Update) || want.End != e.End || want.Peer != e.Peer {
			return errors.New("it is not what it was")
		}
		return nil
	}
	lost := map[bool]int{}
	for at := walHeader; at < len(log); at += frameSize {
		b := bytes.Clone(log)
		b[at+frameHeader+r.IntN(pageSize)|3] ^= byte(1 + r.IntN(255)) // one that is not put right
		for _, checked := range []bool{false, true} {
			dir := memoryDir(t)
			damaged := filepath.Join(dir, "journal.db")
			copyKilled(t, path, damaged)
			require.NoError(t, os.WriteFile(damaged+"-wal", b, 0o600))
			opts := Options{Boot: "one"}
			if checked {
				opts.Check = check
			}
			j, _ := openDamaged(t, damaged, opts)
			lost[checked] += count - len(there(t, j))
			require.NoError(t, j.Close())
		}
	}
	t.Logf("lost %d changes, with those of damaged pages %d", lost[false], lost[true])
	require.Less(t, lost[true], lost[false])
}

// A frame is put right only where it is certain what was in it.
func TestFramesAreCorrectedAsTheyWere(t *testing.T) {
	path, log := burst(t, 20)
	r := rand.New(rand.NewPCG(3, 3))
	corrected := map[int]int{}
	const each = 2000
	for _, bytesWrong := range []int{1, 2, 3} {
		for range each {
			b := bytes.Clone(log)
			frame := r.IntN((len(b) - walHeader) / frameSize)
			at := walHeader + frame*frameSize
			for range bytesWrong {
				b[at+frameHeader+r.IntN(pageSize)] ^= byte(1 + r.IntN(255))
			}
			require.NoError(t, os.WriteFile(path+".log", b, 0o600))
			l, err := openLog(path+".log", nil)
			require.NoError(t, err)
			for n := 0; n < frame; n++ {
				is, err := l.next()
				require.NoError(t, err)
				require.Equal(t, right, is)
			}
			is, err := l.next()
			require.NoError(t, err)
			if is != unknown {
				require.Equal(t, log[at:at+frameSize], l.frame, "frame %d", frame)
				corrected[bytesWrong]++
			}
			require.NoError(t, l.f.Close())
		}
	}
	require.Greater(t, corrected[1], each*2/3)
	require.Less(t, corrected[2], each/100)
}

// openDamaged opens a damaged journal as the file system does, and returns the name of what was kept.
func openDamaged(t *testing.T, path string, opts Options) (*Journal, string) {
	t.Helper()
	j, err := Open(path, opts)
	if err == nil {
		kept, why := j.Kept()
		require.ErrorIs(t, why, ErrDamaged)
		return j, kept
	}
	require.ErrorIs(t, err, ErrDamaged)
	aside, err := SetAside(path)
	require.NoError(t, err)
	j, err = Open(path, opts)
	require.NoError(t, err)
	_, err = j.Salvage(ctx, aside)
	require.NoError(t, err)
	return j, aside
}

// What was moved to the database must not be hidden by what the log has from before.
func TestDamageInWhatWasMovedToTheDatabaseCostsNothing(t *testing.T) {
	path := filepath.Join(memoryDir(t), "journal.db")
	j := open(t, path, Options{SyncDelay: time.Hour, Boot: "one"})
	const count = 60
	for n := range count {
		require.NoError(t, j.Enqueue(change(n)).Wait())
		if n == 40 {
			// Somebody who reads keeps the log from being begun anew.
			reader, err := connect(path)
			require.NoError(t, err)
			defer reader.Close()
			require.NoError(t, reader.run("BEGIN"))
			_, err = reader.number("SELECT count(*) FROM entries")
			require.NoError(t, err)
			_, _, err = j.db.side.checkpoint("PASSIVE")
			require.NoError(t, err)
		}
	}
	info, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	whole := 0
	tried := 0
	for at := int64(walHeader + 100); at < info.Size(); at += frameSize {
		damaged := filepath.Join(memoryDir(t), "journal.db")
		copyKilled(t, path, damaged)
		f, err := os.OpenFile(damaged+"-wal", os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt(bytes.Repeat([]byte{0xaa}, 1000), at)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		said := readIndex(damaged + "-shm")
		require.Len(t, said, 2)
		again, _ := openDamaged(t, damaged, Options{Boot: "one"})
		n := len(there(t, again))
		if at < walHeader+int64(said[0].moved)*frameSize {
			require.Equal(t, count, n)
			whole++
		}
		require.GreaterOrEqual(t, n, count-1)
		tried++
		require.NoError(t, again.Close())
	}
	require.Greater(t, whole, 10)
	require.Greater(t, tried, whole)
}

// tails leave behind the end of the log what is no damage, and return how many entries there are.
var tails = map[string]func(t *testing.T, j *Journal) int{
	"rolled back after it was written": func(t *testing.T, j *Journal) int {
		spill(t, j, 300)
		require.NoError(t, j.db.main.run("ROLLBACK"))
		return 0
	},
	"half overwritten": func(t *testing.T, j *Journal) int {
		spill(t, j, 300)
		require.NoError(t, j.db.main.run("ROLLBACK"))
		require.NoError(t, j.Enqueue(change(100)).Wait())
		return 1
	},
	"not finished": func(t *testing.T, j *Journal) int {
		spill(t, j, 300)
		return 0
	},
	"of an earlier round": func(t *testing.T, j *Journal) int {
		spill(t, j, 300)
		require.NoError(t, j.db.main.run("COMMIT"))
		_, _, err := j.db.main.checkpoint("RESTART")
		require.NoError(t, err)
		require.NoError(t, j.Enqueue(change(100)).Wait())
		return 301
	},
	"of an earlier round that is to be overwritten": func(t *testing.T, j *Journal) int {
		spill(t, j, 300)
		require.NoError(t, j.db.main.run("COMMIT"))
		_, _, err := j.db.main.checkpoint("RESTART")
		require.NoError(t, err)
		return 300
	},
	"emptied": func(t *testing.T, j *Journal) int {
		_, _, err := j.db.main.checkpoint("TRUNCATE")
		require.NoError(t, err)
		return 0
	},
}

// spill begins a transaction of which SQLite writes pages to the log before its end.
func spill(t *testing.T, j *Journal, count int) {
	t.Helper()
	require.NoError(t, j.db.main.run("PRAGMA cache_size=10; BEGIN IMMEDIATE"))
	for n := range count {
		e := change(500 + n)
		require.NoError(t, j.db.main.run(fmt.Sprintf("INSERT INTO entries VALUES (%d, 1, %d, %d, x'%x')", 500+n, e.Start, e.End, e.Update)))
	}
	info, err := os.Stat(j.path + "-wal")
	require.NoError(t, err)
	require.Greater(t, info.Size(), int64(10*frameSize))
}

func TestWhatAKillLeavesIsNoDamage(t *testing.T) {
	for name, leave := range tails {
		for _, suffixes := range [][]string{{"", "-wal", "-shm", "-boot"}, {"", "-wal", "-boot"}} {
			t.Run(fmt.Sprint(name, suffixes), func(t *testing.T) {
				path := filepath.Join(memoryDir(t), "journal.db")
				j := open(t, path, Options{SyncDelay: time.Hour, Boot: "one"})
				for n := range 20 {
					require.NoError(t, j.Enqueue(change(n)).Wait())
				}
				more := leave(t, j)
				killed := filepath.Join(memoryDir(t), "journal.db")
				copyKilled(t, path, killed, suffixes...)
				_ = j.db.main.run("ROLLBACK") // for Close
				for range 2 {
					j = open(t, killed, Options{SyncDelay: time.Hour, Boot: "one"})
					_, why := j.Kept()
					require.NoError(t, why)
					require.Len(t, there(t, j), 20+more)
					again := filepath.Join(memoryDir(t), "journal.db")
					copyKilled(t, killed, again)
					killed = again
				}
			})
		}
	}
}

// What a power loss left behind the end of the log is not taken for what was written since.
func TestPowerLossAndThenAKillAreNoDamage(t *testing.T) {
	path, log := burst(t, 40)
	lost := filepath.Join(memoryDir(t), "journal.db")
	copyKilled(t, path, lost)
	b := bytes.Clone(log)
	clear(b[len(b)/2 : len(b)/2+10_000])
	require.NoError(t, os.WriteFile(lost+"-wal", b, 0o600))
	j := open(t, lost, Options{SyncDelay: time.Hour, Boot: "two"})
	_, why := j.Kept()
	require.NoError(t, why)
	left := len(there(t, j))
	require.Less(t, left, 40)
	for n := range 3 {
		require.NoError(t, j.Enqueue(change(100+n)).Wait())
	}
	killed := filepath.Join(memoryDir(t), "journal.db")
	copyKilled(t, lost, killed, "", "-wal", "-boot")
	j = open(t, killed, Options{Boot: "two"})
	_, why = j.Kept()
	require.NoError(t, why)
	require.Len(t, there(t, j), left+3)
}

func TestBootIsNotedOnceItsLogIsEmpty(t *testing.T) {
	path, _ := burst(t, 3)
	require.Equal(t, "one", bootOf(path))
	left := filepath.Join(memoryDir(t), "journal.db")
	copyKilled(t, path, left, "", "-wal", "-boot")
	reader, err := connect(left)
	require.NoError(t, err)
	require.NoError(t, reader.run("BEGIN"))
	_, err = reader.number("SELECT count(*) FROM entries")
	require.NoError(t, err)
	require.NoError(t, open(t, left, Options{Boot: "two"}).Close())
	require.Equal(t, "one", bootOf(left), "somebody reads the log")
	require.NoError(t, reader.Close())
	j := open(t, left, Options{Boot: ""})
	require.Equal(t, "one", bootOf(left))
	require.NoError(t, j.Close())
	j = open(t, left, Options{Boot: "two"})
	require.Equal(t, "two", bootOf(left))
	require.Len(t, there(t, j), 3)
}

// The frame that ends the last transaction is lost, and what else it wrote is not.
func TestLastTransactionLosesOnlyWhatIsDamaged(t *testing.T) {
	path := filepath.Join(memoryDir(t), "journal.db")
	j := open(t, path, Options{SyncDelay: time.Hour, Boot: "one"})
	require.NoError(t, j.Enqueue(change(0)).Wait())
	var last *Ticket
	for n := 1; n < 40; n++ {
		last = j.Enqueue(change(n))
	}
	require.NoError(t, last.Wait())
	damaged := filepath.Join(memoryDir(t), "journal.db")
	copyKilled(t, path, damaged)
	log, err := os.ReadFile(path + "-wal")
	require.NoError(t, err)
	require.NotZero(t, binary.BigEndian.Uint32(log[len(log)-frameSize+4:]))
	clear(log[len(log)-frameSize:])
	require.NoError(t, os.WriteFile(damaged+"-wal", log, 0o600))
	j, _ = openDamaged(t, damaged, Options{Boot: "one"})
	require.Greater(t, len(there(t, j)), 20)
}

// What Judge dropped was taken for entries that a damaged page had led to.
func TestDroppedEntriesDoNotComeBackWithDamage(t *testing.T) {
	for _, count := range []int{30, 100, 300} {
		path := filepath.Join(memoryDir(t), "journal.db")
		j := open(t, path, Options{SyncDelay: time.Hour, Boot: "one"})
		for n := range count {
			require.NoError(t, j.Enqueue(change(n)).Wait())
		}
		j = reopen(t, j)
		keep := count / 2
		require.NoError(t, j.Judge(ctx, keep, nil))
		killed := filepath.Join(memoryDir(t), "journal.db")
		copyKilled(t, path, killed)
		moved, err := connect(killed)
		require.NoError(t, err)
		_, _, err = moved.checkpoint("TRUNCATE")
		require.NoError(t, err)
		require.NoError(t, moved.Close())
		body, err := os.ReadFile(killed)
		require.NoError(t, err)
		for page := 1; page < len(body)/pageSize; page++ {
			damaged := filepath.Join(memoryDir(t), "journal.db")
			b := bytes.Clone(body)
			clear(b[page*pageSize:][:pageSize])
			require.NoError(t, os.WriteFile(damaged, b, 0o600))
			again, err := Open(damaged, Options{})
			if err != nil {
				again, _ = openDamaged(t, damaged, Options{})
			}
			for n := range there(t, again) {
				require.Less(t, n, keep, "page %d of %d entries", page, count)
			}
			require.NoError(t, again.Close())
		}
	}
}

// SQLite writes pages of a large transaction again in place, and at its end the checksums from there on anew, frame
// by frame, the last of which commits it. A kill in between is no damage, without the log's index neither.
func TestAKillWhileChecksumsAreWrittenAnewIsNoDamage(t *testing.T) {
	for _, count := range []int{20, 150} {
		path := filepath.Join(memoryDir(t), "journal.db")
		j := open(t, path, Options{SyncDelay: time.Hour, Boot: "one"})
		for n := range count {
			require.NoError(t, j.Enqueue(change(n)).Wait())
		}
		spill(t, j, 200)
		spilled, err := os.ReadFile(path + "-wal")
		require.NoError(t, err)
		dir := memoryDir(t)
		open := filepath.Join(dir, "open.db")
		copyKilled(t, path, open)
		require.NoError(t, j.db.main.run("UPDATE entries SET next = next + 1 WHERE seq > 500; COMMIT"))
		done, err := os.ReadFile(path + "-wal")
		require.NoError(t, err)
		before := bytes.Clone(done)
		again, changed := 0, 0 // the first frame that was written again, and how many
		for at := walHeader; at < len(done); at += frameSize {
			if at >= len(spilled) {
				clear(before[at+8 : at+24]) // as SQLite appends them when others are to be summed again
				continue
			}
			copy(before[at:at+frameHeader], spilled[at:])
			if !bytes.Equal(done[at:at+frameHeader], spilled[at:at+frameHeader]) {
				if again == 0 {
					again = at
				}
				changed++
			}
		}
		require.NotZero(t, again)
		require.Greater(t, changed, 10)
		for at := again; at < len(done); at += frameSize {
			log := slices.Concat(done[:at], before[at:])
			for _, index := range []bool{false, true} {
				killed := filepath.Join(dir, "journal.db")
				copyKilled(t, open, killed)
				if !index {
					require.NoError(t, os.Remove(killed+"-shm"))
				}
				require.NoError(t, os.WriteFile(killed+"-wal", log, 0o600))
				j, err := Open(killed, Options{Boot: "one"})
				require.NoError(t, err)
				_, why := j.Kept()
				require.NoError(t, why, "%d frames of %d, index %v", (at-again)/frameSize, (len(done)-again)/frameSize, index)
				require.Len(t, there(t, j), count)
				// What is left of it behind the end is none later.
				require.NoError(t, j.Enqueue(change(count)).Wait())
				later := filepath.Join(dir, "later.db")
				copyKilled(t, killed, later, "", "-wal", "-boot")
				require.NoError(t, j.Close())
				j, err = Open(later, Options{Boot: "one"})
				require.NoError(t, err)
				_, why = j.Kept()
				require.NoError(t, why)
				require.Len(t, there(t, j), count+1)
				require.NoError(t, j.Close())
				for _, suffix := range files {
					require.NoError(t, errors.Join(removed(killed+suffix), removed(later+suffix)))
				}
			}
		}
	}
}
