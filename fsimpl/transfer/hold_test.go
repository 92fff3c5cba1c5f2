package transfer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
)

// saver makes the changes of programs that save files, as operations of peer 1.
type saver struct {
	*rig
	n     int32
	files uint64
	made  map[uint64]int32 // by which operation
}

func newSaver(t *testing.T) *saver { return &saver{rig: newRig(t), made: make(map[uint64]int32)} }

func (s *saver) add(c Change) {
	e := journal.Entry{Peer: 1, Start: s.n, End: s.n + 1, Update: []byte{1}}
	s.n++
	require.NoError(s.t, s.queue.Add(e, c).Wait())
}

func at(name string) Place { return Place{Dir: 1, Name: name} }

// create makes a file.
func (s *saver) create(name string) (file uint64) {
	s.files++
	s.made[s.files] = s.n
	s.add(Change{Node: s.files, Made: true, At: at(name)})
	return s.files
}

// write gives a file content.
func (s *saver) write(file uint64, name, body string) objectid.ID {
	id := objectid.Of([]byte(body))
	require.NoError(s.t, s.cache.Put(id, []byte(body), true))
	s.add(Change{Node: file, Replaces: true, At: at(name), Objects: []journal.Upload{{Object: id, Size: int64(len(body)), Node: file}}})
	return id
}

// put makes a file with content.
func (s *saver) put(name, body string) (file uint64, id objectid.ID) {
	file = s.create(name)
	return file, s.write(file, name, body)
}

// rename gives a file the name of another one.
func (s *saver) rename(file uint64, from, to string, over uint64) {
	s.add(Change{Node: over, Replaces: true, Maker: &Maker{1, s.made[over]}, Moved: file, From: at(from), At: at(to)})
}

func (s *saver) remove(file uint64, name string) {
	s.add(Change{Node: file, Replaces: true, Maker: &Maker{1, s.made[file]}, At: at(name)})
}

// save puts content into a new file and renames it over another one.
func (s *saver) save(old uint64, body string) (file uint64, id objectid.ID) {
	file, id = s.put("tmp", body)
	s.rename(file, "tmp", "f", old)
	return file, id
}

// held saves a file so that its content is held back, and returns it.
func (s *saver) held() (file uint64, id objectid.ID) {
	file, _ = s.put("f", "first")
	s.drain()
	file, _ = s.save(file, "second")
	file, id = s.save(file, "third")
	time.Sleep(settle / 2)
	require.False(s.t, s.stored(id))
	require.NotZero(s.t, s.queue.Progress().Changes)
	return file, id
}

func TestWhoWaitsForTheStoreEndsThatThingsAreHeldBack(t *testing.T) {
	for name, wait := range map[string]func(s *saver) error{
		"wait":  func(s *saver) error { return s.queue.Reach(s.t.Context(), nil) },
		"drain": func(s *saver) error { return s.queue.Drain(s.t.Context(), nil) },
		"fsync": func(s *saver) error { return s.queue.Published(s.t.Context(), 1, s.n) },
		"full cache": func(s *saver) error {
			pinned := s.cache.Stats().Pinned
			return s.queue.Await(s.t.Context(), func() bool { return s.cache.Stats().Pinned < pinned })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSaver(t)
				_, id := s.held()
				before := time.Now()
				require.NoError(t, wait(s))
				require.Less(t, time.Since(before), settle/4)
				require.True(t, s.stored(id))
			})
		})
	}
	t.Run("one who waits already", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSaver(t)
			file, _ := s.held()
			ctx, end := context.WithCancel(t.Context())
			defer end()
			go func() { _ = s.queue.Await(ctx, func() bool { return false }) }()
			synctest.Wait()
			_, id := s.save(file, "fourth")
			synctest.Wait()
			require.True(t, s.stored(id))
		})
	})
}

func TestNothingIsHeldBackInSyncMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &saver{rig: &rig{t: t, store: newWatchedStore(), dir: t.TempDir(), eager: true}, made: make(map[uint64]int32)}
		s.start()
		t.Cleanup(s.stop)
		file, _ := s.put("f", "first")
		before := time.Now()
		for n := range 10 {
			var id objectid.ID
			file, id = s.save(file, fmt.Sprint("content ", n))
			require.NoError(t, s.queue.Published(t.Context(), 1, s.n))
			require.True(t, s.stored(id))
		}
		require.Less(t, time.Since(before), settle/4)
	})
}

func TestNewFilesAreNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSaver(t)
		_, one := s.put("one", "1")
		time.Sleep(gather / 2)
		_, two := s.put("two", "2")
		file, three := s.put("three.part", "3") // and under a new name
		s.add(Change{Moved: file, From: at("three.part"), At: at("three")})
		synctest.Wait()
		for _, id := range []objectid.ID{one, two, three} {
			require.True(t, s.stored(id))
		}
		time.Sleep(gather)
		synctest.Wait()
		require.True(t, s.queue.Progress().Idle())
	})
}

// TestRenamingOverOtherFilesHoldsThemForAMoment guards against a second for each file of a tree that is brought up to date by
// new files renamed over the old ones.
func TestRenamingOverOtherFilesHoldsThemForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSaver(t)
		var old [20]uint64
		for n := range old {
			old[n], _ = s.put(fmt.Sprint("f", n), fmt.Sprint("old ", n))
		}
		s.drain()
		time.Sleep(time.Minute)
		for n := range old {
			tmp := fmt.Sprintf(".f%d.%x", n, 7919*n)
			file, id := s.put(tmp, fmt.Sprint("new ", n))
			s.rename(file, tmp, fmt.Sprint("f", n), old[n])
			synctest.Wait()
			require.True(t, s.stored(id))
		}
		time.Sleep(gather)
		synctest.Wait()
		require.True(t, s.queue.Progress().Idle())
	})
}

// TestAFileIsNotPublishedWithoutItsContentOrItsRemoval guards others from a file whose content is in no store: whoever knows a file may
// move it while it is removed, and then it stays.
func TestAFileIsNotPublishedWithoutItsContentOrItsRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSaver(t)
		goOn := make(chan struct{})
		s.store.setFail(func(key string) error {
			if strings.HasPrefix(key, "data/") {
				<-goOn
			}
			return nil
		})
		made := s.n
		file, _ := s.put("f", "content")
		s.put("g", "of which the upload is under way")
		removed := s.n
		s.remove(file, "f")
		s.present = func(end int32) {
			if end > made && end <= removed {
				t.Errorf("what made the file is published without its removal, up to %d", end)
			}
		}
		time.Sleep(2 * gather)
		close(goOn)
		s.drain()
	})
}

func TestWhatIsHeldBackGoesWhenTheFileIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSaver(t)
		file, id := s.held()
		s.remove(file, "f")
		time.Sleep(2 * settle)
		require.True(t, s.queue.Progress().Idle())
		require.False(t, s.stored(id))
		require.NoError(t, s.journal.Sync(t.Context()))
		require.Zero(t, s.cache.Stats().Pinned)
		count, _ := s.journal.Uploads()
		require.Zero(t, count)
	})
}

// TestSavesDuringAnOutage: what is replaced is dropped however long it lasts, and removing a file frees all that it holds.
func TestSavesDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSaver(t)
		file, _ := s.put("f", "first")
		other, _ := s.put("g", "first of g")
		s.drain()
		s.store.setFail(func(key string) error {
			return &objstore.Error{Op: objstore.OpPut, Key: key, Kind: objstore.ErrUnavailable, Err: errors.New("forced")}
		})
		var last objectid.ID
		for n := range 300 {
			file, last = s.save(file, fmt.Sprint("content ", n))
			s.write(other, "g", fmt.Sprint("content of g ", n))
			time.Sleep(100 * time.Millisecond)
			require.LessOrEqual(t, s.queue.Progress().Objects, 8, "after %d", n)
		}
		s.remove(other, "g")
		require.LessOrEqual(t, s.queue.Progress().Objects, 5)
		s.store.setFail(nil)
		time.Sleep(15 * time.Second)
		require.True(t, s.queue.Progress().Idle())
		require.True(t, s.stored(last))
		require.NoError(t, s.journal.Sync(t.Context()))
		require.Zero(t, s.cache.Stats().Pinned)
		require.LessOrEqual(t, len(s.store.putKeys()), 300, "with all that failed")
	})
}

func TestWhatIsHeldBackIsTakenUpByTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSaver(t)
		_, id := s.held()
		s.stop()
		s.start()
		synctest.Wait()
		require.True(t, s.stored(id))
		s.drain()
	})
}

// TestPlacesAreForgotten guards the memory of a mount that runs for long.
func TestPlacesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSaver(t)
		for n := range placesMost + 10 {
			if n == placesMost {
				time.Sleep(2 * settle)
			}
			s.create(fmt.Sprint(n))
		}
		s.drain()
		require.LessOrEqual(t, len(s.queue.places), 10)
	})
}
