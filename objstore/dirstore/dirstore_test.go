package dirstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/dirstore"
	"github.com/hamflx/pocket/objstore/storetest"
)

func open(t *testing.T, path string, create bool) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(path, create)
	require.NoError(t, err)
	return s
}

func keys(t *testing.T, s objstore.Store) []string {
	t.Helper()
	keys := []string{}
	for info, err := range s.List(t.Context(), "", "") {
		require.NoError(t, err)
		keys = append(keys, info.Key)
	}
	return keys
}

func TestConformance(t *testing.T) {
	storetest.RunAll(t, func(t *testing.T) objstore.Store { return open(t, t.TempDir(), false) })
}

func TestMissingFolderIsErrNoBucketUntilItIsThere(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "bucket")
	s := open(t, dir, false)
	missing := func() {
		t.Helper()
		_, err := s.Get(ctx, "k", 10)
		require.ErrorIs(t, err, objstore.ErrNoBucket)
		_, err = s.Stat(ctx, "k")
		require.ErrorIs(t, err, objstore.ErrNoBucket)
		require.ErrorIs(t, s.Put(ctx, "k", nil), objstore.ErrNoBucket)
		require.ErrorIs(t, s.Delete(ctx, "k"), objstore.ErrNoBucket)
		for _, prefix := range []string{"", "data/", "..", "//"} {
			err = nil
			for _, err = range s.List(ctx, prefix, "") {
				require.Error(t, err)
			}
			require.ErrorIs(t, err, objstore.ErrNoBucket)
		}
	}
	missing()
	require.NoDirExists(t, dir)
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, s.Put(ctx, "k", []byte("v")))
	require.NoError(t, os.RemoveAll(dir))
	missing()
	require.NoDirExists(t, dir)
}

func TestEmptyMountPointOfAnAbsentDriveIsErrNoBucket(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "mountpoint")
	s := open(t, dir, true)
	require.NoError(t, s.Put(ctx, "index/head", []byte("v")))

	away := dir + "-away"
	require.NoError(t, os.Rename(dir, away))
	require.NoError(t, os.Mkdir(dir, 0o700))
	_, err := s.Get(ctx, "index/head", 10)
	require.ErrorIs(t, err, objstore.ErrNoBucket)
	require.ErrorIs(t, s.Put(ctx, "data/x", []byte("v")), objstore.ErrNoBucket)
	require.ErrorIs(t, s.Delete(ctx, "index/head"), objstore.ErrNoBucket)
	for _, err = range s.List(ctx, "", "") {
		require.Error(t, err)
	}
	require.ErrorIs(t, err, objstore.ErrNoBucket)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is written beside the drive")

	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Rename(away, dir))
	body, err := s.Get(ctx, "index/head", 10)
	require.NoError(t, err)
	require.Equal(t, "v", string(body))
}

func TestCreateMakesTheLastFolderOnly(t *testing.T) {
	parent := t.TempDir()
	_, err := dirstore.Open(filepath.Join(parent, "not mounted", "bucket"), true)
	require.ErrorIs(t, err, objstore.ErrNoBucket)
	require.ErrorContains(t, err, "has to exist")
	open(t, filepath.Join(parent, "bucket"), true)
	open(t, filepath.Join(parent, "bucket"), true)
	require.DirExists(t, filepath.Join(parent, "bucket"))

	require.NoError(t, os.WriteFile(filepath.Join(parent, "file"), nil, 0o600))
	_, err = dirstore.Open(filepath.Join(parent, "file"), true)
	require.Error(t, err)
	_, err = dirstore.Open("", true)
	require.Error(t, err)
}

func TestCommonKeysAreTheirOwnPaths(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, false)
	require.NoError(t, s.Put(t.Context(), "ssh/data/ab12", []byte("v")))
	body, err := os.ReadFile(filepath.Join(dir, "ssh", "data", "ab12"))
	require.NoError(t, err)
	require.Equal(t, "v", string(body))

	// And the other way: a bucket copied into a folder.
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "ssh", "index"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ssh", "index", "head"), []byte("h"), 0o600))
	body, err = s.Get(t.Context(), "ssh/index/head", 10)
	require.NoError(t, err)
	require.Equal(t, "h", string(body))
	require.Equal(t, []string{"ssh/data/ab12", "ssh/index/head"}, keys(t, s))
}

func TestForeignFilesAreNotListed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, true)
	require.NoError(t, s.Put(t.Context(), "data/x", []byte("v")))
	for _, name := range []string{".DS_Store", "._x", "data/.nfs0001", "Thumbs.db", "data/with space", "data/%41b%2F", "data/%zz", "data/%6", "data/%61", "data/%2f", "data/%00", "data/%ff", "lost+found"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), nil, 0o600))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "System Volume Information", "x"), 0o700))
	require.Equal(t, []string{"data/x"}, keys(t, s))
}

func TestTemporaryFilesAreIgnoredAndStaleOnesRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, true)
	require.NoError(t, s.Put(t.Context(), "x", []byte("v")))
	temps := filepath.Join(dir, ".pocket-tmp")
	entries, err := os.ReadDir(temps)
	require.NoError(t, err)
	require.Empty(t, entries, "a finished Put leaves none")

	stale, fresh := filepath.Join(temps, "STALE"), filepath.Join(temps, "FRESH")
	require.NoError(t, os.WriteFile(stale, []byte("half"), 0o600))
	require.NoError(t, os.WriteFile(fresh, []byte("half"), 0o600))
	old := time.Now().Add(-48 * time.Hour)
	require.NoError(t, os.Chtimes(stale, old, old))
	require.Equal(t, []string{"x"}, keys(t, open(t, dir, false)))
	require.NoFileExists(t, stale)
	require.FileExists(t, fresh, "it may be another machine's, being written")
}

func TestEmptyFoldersGoWithTheirLastObject(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, true)
	require.NoError(t, s.Put(t.Context(), "index/updates/peer/1", nil))
	require.NoError(t, s.Put(t.Context(), "index/head", nil))
	require.NoError(t, s.Delete(t.Context(), "index/updates/peer/1"))
	require.NoDirExists(t, filepath.Join(dir, "index", "updates"))
	require.DirExists(t, filepath.Join(dir, "index"))
	require.NoError(t, s.Delete(t.Context(), "index/head"))
	require.NoDirExists(t, filepath.Join(dir, "index"))
	require.DirExists(t, dir)
}

func TestSegmentTooLongForAFileNameIsErrInvalidKey(t *testing.T) {
	s := open(t, t.TempDir(), false)
	for key, ok := range map[string]bool{
		strings.Repeat("x", 255): true, strings.Repeat("x", 256): false, strings.Repeat("X", 85): true, strings.Repeat("X", 86): false,
	} {
		err := s.Put(t.Context(), "data/"+key, nil)
		if ok {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, objstore.ErrInvalidKey)
		}
	}
}

func TestIdentityIsTheAbsolutePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	here, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, "dir "+here, open(t, ".", false).Identity())
}

func TestFirstPutBesideOtherCalls(t *testing.T) {
	const rounds, others = 20, 4
	for range rounds {
		s := open(t, t.TempDir(), false)
		begun, done := make(chan struct{}, others), make(chan struct{})
		failed := make(chan error, others)
		for range others {
			go func() {
				begin := sync.OnceFunc(func() { begun <- struct{}{} })
				for {
					select {
					case <-done:
						failed <- nil
						return
					default:
					}
					if _, err := s.Get(t.Context(), "missing", 10); !errors.Is(err, objstore.ErrNotExist) {
						failed <- err
						begin()
						return
					}
					begin()
				}
			}()
		}
		for range others {
			<-begun
		}
		err := s.Put(t.Context(), "data/x", nil)
		close(done)
		require.NoError(t, err)
		for range others {
			require.NoError(t, <-failed, "a folder that is marked just now is not gone")
		}
	}
}
