package fusehost

import (
	"fmt"
	"testing"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/stretchr/testify/require"
	"github.com/winfsp/cgofuse/fuse"
)

func TestNoticesOfOnePathAreOne(t *testing.T) {
	type sent struct {
		path   string
		action uint32
	}
	told, goOn := make(chan sent), make(chan struct{})
	n := startNotifier(func(path string, action uint32) bool {
		told <- sent{path, action}
		<-goOn
		return false
	})
	n.add([]fsimpl.Merged{{Path: "/first", What: fsimpl.Appeared, Dir: true}})
	require.Equal(t, sent{"/first", fuse.NOTIFY_MKDIR}, <-told)
	// While it is told, more comes: nobody waits, and nothing is lost.
	n.add([]fsimpl.Merged{
		{Path: "/a", What: fsimpl.Altered}, {Path: "/gone", What: fsimpl.Appeared}, {Path: "/a", What: fsimpl.Altered},
		{Path: "/new", What: fsimpl.Appeared}, {Path: "/gone", What: fsimpl.Vanished}, {Path: "/new", What: fsimpl.Altered},
		{Path: "/other", What: fsimpl.Vanished}, {Path: "/other", What: fsimpl.Appeared}, {Path: "/d", What: fsimpl.Vanished, Dir: true},
	})
	for _, want := range []sent{
		{"/a", alteredBits}, {"/gone", fuse.NOTIFY_UNLINK}, {"/new", fuse.NOTIFY_CREATE | alteredBits},
		{"/other", fuse.NOTIFY_CREATE | alteredBits}, {"/d", fuse.NOTIFY_RMDIR},
	} {
		goOn <- struct{}{}
		require.Equal(t, want, <-told)
	}
	close(goOn)
	n.stop()
	n.add([]fsimpl.Merged{{Path: "/late"}}) // returns
	n.stop()
	(*notifier)(nil).stop()
}

func TestNoticesAreBounded(t *testing.T) {
	hold := make(chan struct{})
	begun := make(chan struct{}, 1)
	count := 0 // the goroutine's
	n := startNotifier(func(string, uint32) bool {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-hold
		count++
		return true
	})
	n.add([]fsimpl.Merged{{Path: "/0"}})
	<-begun
	const more = noticesMost + 100
	added := make(chan struct{})
	go func() {
		for i := range more {
			n.add([]fsimpl.Merged{{Path: fmt.Sprintf("/x%d", i)}})
		}
		close(added)
	}()
	for full := false; !full; {
		n.mu.Lock()
		require.LessOrEqual(t, len(n.order), noticesMost)
		full = len(n.order) == noticesMost
		n.mu.Unlock()
	}
	select {
	case <-added:
		t.Fatal("more than the bound was taken")
	default:
	}
	close(hold)
	<-added
	n.mu.Lock()
	for len(n.order) > 0 {
		n.changed.Wait()
	}
	n.mu.Unlock()
	n.stop()
	require.Greater(t, count, noticesMost)
}

// Whoever waits to tell is let go at the end.
func TestNotifierEndsWhileItIsFull(t *testing.T) {
	hold := make(chan struct{})
	n := startNotifier(func(string, uint32) bool { <-hold; return true })
	added := make(chan struct{})
	go func() {
		for i := range 3 * noticesMost {
			n.add([]fsimpl.Merged{{Path: fmt.Sprintf("/%d", i)}})
		}
		close(added)
	}()
	for full := false; !full; {
		n.mu.Lock()
		full = len(n.order) == noticesMost
		n.mu.Unlock()
	}
	ended := make(chan struct{})
	go func() { n.stop(); close(ended) }()
	<-added
	close(hold)
	<-ended
}
