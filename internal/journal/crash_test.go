package journal

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/bootid"
)

// The test binary is also the process that is killed: with childVariable set it
// changes the journal at that path until then.
const childVariable = "POCKET_JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		if err := changeUntilKilled(path); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// changeUntilKilled enqueues entries from several goroutines and prints "ack N"
// when entry N is acknowledged, "gone N" when those up to N are known to be
// published, "done N" when object N was taken off the upload list.
func changeUntilKilled(path string) error {
	j, err := Open(path, Options{SyncDelay: 2 * time.Millisecond, Boot: bootid.Get()})
	if err != nil {
		return err
	}
	if _, why := j.Kept(); why != nil {
		return why
	}
	j.db.large = 200_000 // checkpoints are what goes wrong in a crash
	loaded, err := j.Load(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards n
	n, _ := strconv.Atoi(string(j.GetMeta("n")))
	for _, e := range loaded.Entries {
		n = max(n, int(e.End))
	}
	var wg sync.WaitGroup
	failed := make(chan error, 8)
	first := uint64(n)
	for w := range cap(failed) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), first))
			for {
				mu.Lock()
				mine := n
				n++
				e := entry(1, mine, Upload{Object: objectOf(mine), Size: int64(mine)})
				e.Update = append(e.Update, make([]byte, r.IntN(3000))...)
				ticket := j.Enqueue(e)
				mu.Unlock()
				if err := ticket.Wait(); err != nil {
					failed <- err
					return
				}
				os.Stdout.WriteString("ack " + strconv.Itoa(mine) + "\n")
				if mine%100 == 99 {
					// The number must outlive the entries it counts.
					if err := j.SetMeta(ctx, "n", []byte(strconv.Itoa(mine+1))); err != nil {
						failed <- err
						return
					}
					if err := j.Published(ctx, 1, int32(mine-50)); err != nil {
						failed <- err
						return
					}
					os.Stdout.WriteString("gone " + strconv.Itoa(mine-50) + "\n")
					j.Uploaded(objectOf(mine))
				}
			}
		})
	}
	_, err = io.Copy(io.Discard, os.Stdin) // ends when the parent goes
	if err == nil {
		err = io.EOF
	}
	select {
	case err = <-failed:
	default:
	}
	return err
}

// A process changes the journal and is killed at some moment, over and over.
// Nothing that it was told is committed may be missing, what follows must be in
// order without a gap, and what it was told is gone must stay away.
func TestNothingAcknowledgedIsLostByKill(t *testing.T) {
	path := newPath(t)
	acknowledged, gone := -1, 0
	r := rand.New(rand.NewPCG(1, 1))
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		_, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		killAt := r.IntN(600)
		lines := bufio.NewScanner(out)
		for i := 0; lines.Scan(); i++ {
			what, number, _ := strings.Cut(lines.Text(), " ")
			n, err := strconv.Atoi(number)
			if err != nil && i <= killAt {
				t.Fatalf("child: %s", lines.Text())
			}
			switch {
			case err != nil: // the kill cut the line
			case what == "ack":
				acknowledged = max(acknowledged, n)
			case what == "gone":
				gone = max(gone, n)
			}
			if i == killAt {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		cmd.Wait()

		j, err := Open(path, Options{Boot: bootid.Get()})
		require.NoError(t, err, "round %d", round)
		_, why := j.Kept()
		require.NoError(t, why)
		loaded := load(t, j)
		if acknowledged < 0 {
			require.NoError(t, j.Close())
			continue
		}
		if len(loaded.Entries) > 0 {
			require.GreaterOrEqual(t, int(loaded.Entries[0].Start), gone)
			require.LessOrEqual(t, int(loaded.Entries[0].Start), acknowledged+1)
		}
		for i, e := range loaded.Entries {
			require.Equal(t, loaded.Entries[0].Start+int32(i), e.Start)
			require.True(t, strings.HasPrefix(string(e.Update), fmt.Sprintf("update %d of 1", e.Start)))
		}
		end := 0
		if n := len(loaded.Entries); n > 0 {
			end = int(loaded.Entries[n-1].End)
		}
		require.Greater(t, end, acknowledged, "round %d", round)
		// The next upload of each entry that came back is there too: they share
		// a transaction. One in a hundred was taken off.
		listed := map[int64]bool{}
		for _, u := range loaded.Uploads {
			listed[u.Size] = true
			require.Equal(t, objectOf(int(u.Size)), u.Object)
		}
		for n := range end {
			require.True(t, listed[int64(n)] || n%100 == 99, "upload %d", n)
		}
		require.NoError(t, j.Close())
	}
	require.Greater(t, acknowledged, 300)
}

// copyJournal copies the files of an open journal, the log cut to length bytes
// (whole when negative), as a power loss leaves them.
func copyJournal(t *testing.T, from, to string, length int) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(from + suffix)
		require.NoError(t, err)
		if suffix != "" && length >= 0 {
			b = b[:length]
		}
		require.NoError(t, os.WriteFile(to+suffix, b, 0o600))
	}
}

// After a power loss the log ends somewhere between what was synced and what was
// written, or with bytes that never got there.
func TestWhatWasSyncedSurvivesAnyEndOfTheLog(t *testing.T) {
	path := newPath(t)
	j := open(t, path, Options{SyncDelay: time.Hour})
	for n := range 40 {
		require.NoError(t, j.Enqueue(entry(1, n)).Wait())
	}
	require.NoError(t, j.Sync(ctx))
	info, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	synced := int(info.Size())
	for n := 40; n < 80; n++ {
		require.NoError(t, j.Enqueue(large(n)).Wait())
	}
	info, err = os.Stat(path + "-wal")
	require.NoError(t, err)
	written := int(info.Size())
	require.Greater(t, written, synced)

	r := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	most := 0
	for i := range 30 {
		length := synced + r.IntN(written-synced+1)
		if i == 0 {
			length = synced
		}
		lost := filepath.Join(dir, fmt.Sprint(i))
		copyJournal(t, path, lost, length)
		if i%2 == 1 {
			// Pages that were given space but not bytes.
			f, err := os.OpenFile(lost+"-wal", os.O_WRONLY|os.O_APPEND, 0)
			require.NoError(t, err)
			_, err = f.Write(make([]byte, r.IntN(50_000)))
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		found := open(t, lost, Options{})
		loaded := load(t, found)
		require.GreaterOrEqual(t, len(loaded.Entries), 40)
		for n, e := range loaded.Entries {
			require.Equal(t, int32(n), e.Start)
		}
		most = max(most, len(loaded.Entries))
		require.NoError(t, found.Close())
	}
	require.Greater(t, most, 40)
}

// A byte that changed in the log cost everything that came after it, although nearly all of that was there.
func TestDamageInTheLogCostsLittle(t *testing.T) {
	path := newPath(t)
	j := open(t, path, Options{SyncDelay: time.Hour})
	require.NoError(t, j.Judge(ctx, 0, nil)) // from then on syncs say how far they reach
	const count = 60
	for n := range count {
		require.NoError(t, j.Enqueue(entry(1, n, Upload{Object: objectOf(n), Size: 1})).Wait())
		require.NoError(t, j.Sync(ctx))
	}
	log, err := os.ReadFile(path + "-wal")
	require.NoError(t, err)
	frames := (len(log) - walHeader) / (frameHeader + pageSize)
	require.Greater(t, frames, count)
	dir := t.TempDir()
	whole, tried := 0, 0
	for n := 0; n < frames-20; n += 9 { // behind the last two syncs it may be the log's end
		for place, at := range map[string]int{"page": frameHeader + 1000, "number": 0, "salt": 9, "checksum": 17} {
			damaged := filepath.Join(dir, fmt.Sprint(n, place))
			copyJournal(t, path, damaged, -1)
			b := bytes.Clone(log)
			b[walHeader+n*(frameHeader+pageSize)+at] ^= 0x10
			require.NoError(t, os.WriteFile(damaged+"-wal", b, 0o600))
			again, err := Open(damaged, Options{})
			require.NoError(t, err)
			copied, why := again.Kept()
			require.ErrorIs(t, why, ErrDamaged, "%s of frame %d of %d", place, n, frames)
			kept, err := os.ReadFile(copied + "-wal")
			require.NoError(t, err)
			require.Equal(t, b, kept)
			loaded, err := again.Load(ctx)
			require.NoError(t, err)
			last := -1
			for _, e := range loaded.Entries {
				n := int(e.Start)
				require.Greater(t, n, last)
				require.Equal(t, entry(1, n), Entry{Peer: e.Peer, Start: e.Start, End: e.End, Update: e.Update})
				last = n
			}
			tried++
			if len(loaded.Entries) == count && len(loaded.Uploads) == count {
				whole++
			}
			require.NoError(t, again.Close())
			left, err := filepath.Glob(damaged + ".mend*")
			require.NoError(t, err)
			require.Empty(t, left)
		}
	}
	require.Greater(t, whole, tried*8/10)
}
