package chunkcache

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
)

func TestTableKeepsTheOrderOfUse(t *testing.T) {
	var tab table
	tab.init()
	var model []objectid.ID // most recently used first
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		id := objectid.ID{byte(r.IntN(50)), 1}
		i, ok := tab.find(id)
		at := slices.Index(model, id)
		if !ok {
			i = tab.add(id, 1)
		}
		if at >= 0 {
			model = slices.Delete(model, at, at+1)
		}
		switch r.IntN(5) {
		case 0:
			tab.unlink(i)
		case 1:
			tab.remove(i)
		case 2:
			tab.pushBack(i)
			model = append(model, id)
		default:
			tab.pushFront(i)
			model = slices.Insert(model, 0, id)
		}
		var forward, backward []objectid.ID
		for i := tab.at[0].next; i != 0; i = tab.at[i].next {
			forward = append(forward, tab.at[i].id)
		}
		for i := tab.at[0].prev; i != 0; i = tab.at[i].prev {
			backward = append(backward, tab.at[i].id)
		}
		slices.Reverse(backward)
		require.True(t, slices.Equal(model, forward))
		require.True(t, slices.Equal(model, backward))
	}
	require.LessOrEqual(t, len(tab.at), 51, "places are used again")
}

func TestLRUStaysBelowItsLimit(t *testing.T) {
	var l lru[int]
	l.init(100)
	var dropped []int
	l.dropped = func(v int) { dropped = append(dropped, v) }
	id := func(n int) objectid.ID { return objectid.ID{byte(n)} }
	for n := 1; n <= 5; n++ {
		require.True(t, l.put(id(n), n, 20))
	}
	_, ok := l.get(id(1))
	require.True(t, ok)
	require.True(t, l.put(id(6), 6, 33))
	require.Equal(t, []int{2, 3}, dropped)
	require.False(t, l.put(id(7), 7, 34), "one value takes a third at most")
	l.back(id(6))
	l.back(id(5))
	l.drop(id(5))
	l.drop(id(5))
	require.Equal(t, []int{2, 3, 5}, dropped)
	require.Equal(t, int64(20+20+33), l.total)
	l.clear()
	require.Equal(t, []int{2, 3, 5, 6, 4, 1}, dropped)
	require.Zero(t, l.total)
	_, ok = l.get(id(1))
	require.False(t, ok)
}
