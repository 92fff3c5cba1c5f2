package staging

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
)

const testChunk = 1 << 20

func open(t *testing.T) (*Area, string) {
	dir := t.TempDir()
	a, err := Open(dir, testChunk)
	require.NoError(t, err)
	return a, dir
}

func TestFileAnswersAsAPlainByteArrayDoes(t *testing.T) {
	a, dir := open(t)
	rng := rand.New(rand.NewPCG(1, 2))
	const size = 3*testChunk + 1234
	model := make([]byte, size)
	written := make([]bool, size)
	f := a.NewFile()
	taken := map[int64]bool{}
	for range 100 {
		switch rng.IntN(12) {
		case 0:
			cut := rng.Int64N(size)
			f.Truncate(cut)
			clear(written[cut:])
		case 1:
			f.Drop(int64(rng.IntN(4)))
		default:
			off := rng.Int64N(size)
			p := make([]byte, rng.Int64N(min(size-off, 300<<10)+1))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			require.NoError(t, f.WriteAt(p, off, func(n int64) error { taken[n] = true; return nil }))
			copy(model[off:], p)
			for i := range p {
				written[off+int64(i)] = true
			}
			continue
		}
		// Truncate and Drop forget whole slots: take the model from the ranges.
		clear(written)
		for _, r := range f.Ranges() {
			for i := r.From; i < r.To; i++ {
				written[i] = true
			}
		}
	}
	got := make([]byte, size)
	require.NoError(t, f.Overlay(got, 0))
	for i := range got {
		if written[i] && got[i] != model[i] || !written[i] && got[i] != 0 {
			t.Fatalf("byte %d: got %d, want %d (written %v)", i, got[i], model[i], written[i])
		}
	}
	f.Discard()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Zero(t, a.memory.Load())
}

func TestSequentialSlotBecomesAChunkByRename(t *testing.T) {
	a, _ := open(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), testChunk/16)
	f := a.NewFile()
	var done []int64
	for off := 0; off < len(content); off += 128 << 10 {
		require.NoError(t, f.WriteAt(content[off:off+128<<10], int64(off), func(n int64) error { done = append(done, n); return nil }))
	}
	require.Equal(t, []int64{0}, done)
	c, err := f.Complete(0, testChunk)
	require.NoError(t, err)
	require.Equal(t, objectid.Of(content), c.ID)
	body, err := os.ReadFile(c.Path)
	require.NoError(t, err)
	require.Equal(t, content, body)
	require.True(t, f.Empty())
}

func TestChunkOfAPartlyRewrittenSlotHasTheHashOfItsBytes(t *testing.T) {
	none := func(int64) error { return nil }
	for name, size := range map[string]int{"in memory": 1000, "in a slot file": slotMemory + 5000} {
		t.Run(name, func(t *testing.T) {
			a, _ := open(t)
			f := a.NewFile()
			content := bytes.Repeat([]byte{7}, size)
			require.NoError(t, f.WriteAt(content, 0, none))
			require.NoError(t, f.WriteAt([]byte("back"), 10, none))
			copy(content[10:], "back")
			f.Truncate(int64(size - 3))
			c, err := f.Complete(0, int64(size-3))
			require.NoError(t, err)
			require.Equal(t, objectid.Of(content[:size-3]), c.ID)
			if c.Path != "" {
				c.Body, err = os.ReadFile(c.Path)
				require.NoError(t, err)
			}
			require.Equal(t, content[:size-3], c.Body)
		})
	}
}

func TestSplitCutsASlotInTwoAndLeavesIt(t *testing.T) {
	for name, size := range map[string]int64{"in memory": 1000, "in a slot file": slotMemory + 5000} {
		t.Run(name, func(t *testing.T) {
			a, dir := open(t)
			f := a.NewFile()
			content := make([]byte, size)
			for n := range content {
				content[n] = byte(n % 251)
			}
			require.NoError(t, f.WriteAt(content, 0, nil))
			_, _, err := f.Split(0, 300, size+1)
			require.Error(t, err)
			first, rest, err := f.Split(0, 300, size)
			require.NoError(t, err)
			body := rest.Body
			if rest.Path != "" {
				body, err = os.ReadFile(rest.Path)
				require.NoError(t, err)
			}
			require.Equal(t, content[:300], first.Body)
			require.Equal(t, content[300:], body)
			require.Equal(t, []int64{300, size - 300}, []int64{first.Size, rest.Size})
			require.Equal(t, []objectid.ID{objectid.Of(content[:300]), objectid.Of(content[300:])}, []objectid.ID{first.ID, rest.ID})
			got := make([]byte, size)
			require.NoError(t, f.Overlay(got, 0))
			require.Equal(t, content, got)
			rest.Remove()
			f.Discard()
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestCompleteRefusesASlotWithAGap(t *testing.T) {
	a, _ := open(t)
	f := a.NewFile()
	require.NoError(t, f.WriteAt([]byte("x"), 5, nil))
	_, err := f.Complete(0, 6)
	require.Error(t, err)
	require.False(t, f.Covers(Range{0, 6}))
	require.True(t, f.Covers(Range{5, 6}))
}

func TestOpenRemovesWhatAnEarlierRunLeft(t *testing.T) {
	a, dir := open(t)
	f := a.NewFile()
	require.NoError(t, f.WriteAt(make([]byte, slotMemory+1), 0, nil))
	require.NoError(t, f.slots[0].file.Close()) // as the end of a process does
	_, err := Open(dir, testChunk)
	require.NoError(t, err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// What cannot be taken out of staging, or put back, for the moment (too many open files, a disk that reports at
// the close what it did not write) is there when it is tried again: without it the file would have a hole.
func TestSlotIsKeptWhateverFails(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), (slotMemory+16)/16)
	size := int64(len(content))
	whole := Range{0, size}
	wrong := errors.New("it is broken")
	write := func(t *testing.T) (*File, string) {
		a, dir := open(t)
		f := a.NewFile()
		require.NoError(t, f.WriteAt(content, 0, nil))
		return f, dir
	}
	isWhole := func(t *testing.T, f *File, want []byte) {
		require.True(t, f.Covers(whole))
		got := make([]byte, size)
		require.NoError(t, f.Overlay(got, 0))
		require.True(t, bytes.Equal(want, got))
		c, err := f.Complete(0, size)
		require.NoError(t, err)
		require.Equal(t, objectid.Of(want), c.ID)
		got, err = os.ReadFile(c.Path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
	}
	changed := append([]byte("changed"), content[7:]...)
	for name, off := range map[string]int64{"in order": 0, "going back": 1} {
		t.Run("a close, written "+name, func(t *testing.T) {
			f, _ := write(t)
			require.NoError(t, f.WriteAt(content[off:], off, nil))
			defer func(was func(*os.File) error) { closeFile = was }(closeFile)
			closeFile = func(f *os.File) error { return errors.Join(wrong, f.Close()) }
			_, err := f.Complete(0, size)
			require.ErrorIs(t, err, wrong)
			closeFile = (*os.File).Close
			require.NoError(t, f.WriteAt(changed[:7], 0, nil))
			isWhole(t, f, changed)
		})
	}
	// gone lets every open fail until it is called again.
	gone := func(t *testing.T, dir string) (back func()) {
		require.NoError(t, os.Rename(dir, dir+".away"))
		return func() { require.NoError(t, os.Rename(dir+".away", dir)) }
	}
	t.Run("an open when it is put back", func(t *testing.T) {
		f, dir := write(t)
		c, err := f.Complete(0, size)
		require.NoError(t, err)
		back := gone(t, dir)
		f.Restore(0, c)
		require.True(t, f.Covers(whole))
		require.Error(t, f.Overlay(make([]byte, 10), 0))
		require.Error(t, f.WriteAt([]byte("more"), 5, nil))
		_, err = f.Complete(0, size)
		require.Error(t, err)
		back()
		isWhole(t, f, content)
	})
	t.Run("and what is put back can be written and dropped", func(t *testing.T) {
		f, dir := write(t)
		for range 2 {
			c, err := f.Complete(0, size)
			require.NoError(t, err)
			f.Restore(0, c)
			require.NoError(t, f.WriteAt(changed[:7], 0, nil))
		}
		c, err := f.Complete(0, size)
		require.NoError(t, err)
		require.Equal(t, objectid.Of(changed), c.ID)
		f.Restore(0, c)
		f.Discard()
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}
