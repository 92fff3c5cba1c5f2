package fsimpl_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/storetest"
)

// TestNobodyWaitsForASnapshotOfTheIndex holds the upload of a snapshot up. What is written
// meanwhile reaches the store, and is still known without it when the snapshot is done.
func TestNobodyWaitsForASnapshotOfTheIndex(t *testing.T) {
	store := newFaultStore()
	faulty := storetest.NewFaulty(store.Store)
	store.Store = faulty
	m := &machine{t: t, store: store, data: t.TempDir(), chunk: 64 << 10, mode: fsimpl.Sync}
	m.startForTest()
	m.put("before", []byte("0"))
	m.stop()
	m.start()
	kept := func() []string {
		var names []string
		files, err := os.ReadDir(m.state.Index())
		require.NoError(t, err)
		for _, f := range files {
			names = append(names, f.Name())
		}
		return names
	}
	first := kept()
	require.Len(t, first, 1)

	begun, end := make(chan struct{}), make(chan struct{})
	held, release := sync.OnceFunc(func() { close(begun) }), sync.OnceFunc(func() { close(end) })
	defer release()
	faulty.Plan(func(c storetest.Call) storetest.Fault {
		if c.Op != objstore.OpPut || !strings.HasPrefix(c.Key, loroindex.ObjectPrefix) {
			return storetest.Fault{}
		}
		held()
		return storetest.Fault{Wait: end}
	})
	deadline := time.After(time.Minute)
	for i := 0; ; i++ {
		m.put(fmt.Sprint("f", i), []byte("1"))
		m.drain() // nothing is pending, which a snapshot waits for
		select {
		case <-begun:
		case <-deadline:
			require.Fail(t, "no snapshot was written")
		default:
			continue
		}
		break
	}
	began := time.Now()
	m.put("beside", []byte("2"))
	m.drain()
	require.Less(t, time.Since(began), 20*time.Second, "close waited for the snapshot")
	release()
	eventually(t, "the snapshot takes the place of the first", func() bool {
		now := kept()
		return len(now) == 1 && now[0] != first[0]
	})

	require.NoError(t, m.leave())
	store.setFail(unavailable)
	m.openWait = 100 * time.Millisecond
	m.start()
	require.Equal(t, "2", string(m.get("/beside")))
	store.setFail(nil)
}
