package pagebuf

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsUsedAgainOnceNobodyHoldsIt(t *testing.T) {
	used := InUse()
	a := New(3 << 20)
	require.Len(t, a.Bytes(), 3<<20)
	require.Equal(t, used+(4<<20), InUse())
	at := &a.Bytes()[0]
	a.Hold()
	a.Release()
	b := New(4 << 20)
	require.NotSame(t, at, &b.Bytes()[0], "somebody holds it")
	a.Release()
	c := New(2<<20 + 1)
	require.Same(t, at, &c.Bytes()[0])
	require.Len(t, c.Bytes(), 2<<20+1)
	b.Release()
	c.Release()
	require.Equal(t, used, InUse())
}

func TestWhatIsOwnedStays(t *testing.T) {
	a := New(1 << 20)
	copy(a.Bytes(), "mine")
	own := a.Own()
	at := &a.Bytes()[0]
	a.Release()
	b := New(1 << 20)
	require.Same(t, at, &b.Bytes()[0])
	clear(b.Bytes())
	require.True(t, bytes.HasPrefix(own, []byte("mine")))
	b.Release()

	small := New(10)
	same := small.Own()
	require.Same(t, &small.Bytes()[0], &same[0], "the collector's memory needs no copy")
	small.Release()
}

func TestReleasedTwiceIsAMistake(t *testing.T) {
	a := Of([]byte("x"))
	a.Release()
	require.Panics(t, a.Release)
	require.Nil(t, a.Bytes())
}

func TestLittleIsKeptWhileNobodyUsesIt(t *testing.T) {
	var all []*Buffer
	for range 2 * spareMost / (4 << 20) {
		all = append(all, New(4<<20))
	}
	for _, b := range all {
		b.Release()
	}
	spare.mu.Lock()
	defer spare.mu.Unlock()
	require.LessOrEqual(t, spare.bytes, int64(spareMost))
}

func TestWhatIsHeldIsCounted(t *testing.T) {
	for _, size := range []int{0, 10, least - 1, least, least + 1, 3 << 20, 4 << 20, 4<<20 + 1, most, most + 1} {
		used := InUse()
		b := New(size)
		require.Equal(t, Held(int64(size)), b.Held(), size)
		if size >= least && size <= most {
			require.Equal(t, InUse()-used, b.Held(), size)
		}
		b.Release()
	}
	require.EqualValues(t, 8<<20, Held(4<<20+1))
	of := Of(make([]byte, 100))
	require.EqualValues(t, 100, of.Held())
	of.Release()
}

func TestReleaseDoesNotWaitForTheSystem(t *testing.T) {
	given, wait := make(chan struct{}, 2), make(chan struct{})
	giveBack = func(memory []byte) {
		<-wait
		free(memory)
		given <- struct{}{}
	}
	a, b := New(spareMost), New(spareMost)
	a.Release()
	b.Release() // more than is kept
	close(wait)
	<-given
	giveBack = free
}
