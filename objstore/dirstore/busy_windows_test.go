package dirstore

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/testdisk"
	"github.com/hamflx/pocket/objstore"
)

// Where there are no POSIX renames, the conformance suite's many writers of one key wait
// for each other longer than anybody else has to.
func init() { inUsePatience = 10 * time.Second }

// What a scanner has open for a moment is neither denied nor missing.
func TestObjectThatIsHeldForAMoment(t *testing.T) {
	ctx := t.Context()
	for name, call := range map[string]func(*Store) error{
		"get": func(s *Store) error {
			body, err := s.Get(ctx, "data/x", 10)
			if err == nil {
				require.Equal(t, "old", string(body))
			}
			return err
		},
		"stat": func(s *Store) error {
			_, err := s.Stat(ctx, "data/x")
			return err
		},
		"put":    func(s *Store) error { return s.Put(ctx, "data/x", []byte("new")) },
		"delete": func(s *Store) error { return s.Delete(ctx, "data/x") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(dir, true)
			require.NoError(t, err)
			require.NoError(t, s.Put(ctx, "data/x", []byte("old")))
			testdisk.HoldFor(t, 50*time.Millisecond, filepath.Join(dir, "data", "x"), 0)
			require.NoError(t, call(s))
		})
	}
}

// One that is removed while somebody reads it is denied to others, where there are no POSIX
// removals, until that has ended: then it is missing.
func TestObjectThatIsBeingRemoved(t *testing.T) {
	ctx := t.Context()
	for name, call := range map[string]func(*Store) error{
		"get": func(s *Store) error {
			_, err := s.Get(ctx, "data/x", 10)
			return err
		},
		"stat": func(s *Store) error {
			_, err := s.Stat(ctx, "data/x")
			return err
		},
		"put":    func(s *Store) error { return s.Put(ctx, "data/x", []byte("new")) },
		"delete": func(s *Store) error { return s.Delete(ctx, "data/x") },
		"list": func(s *Store) error {
			for _, err := range s.List(ctx, "data/", "") {
				require.NoError(t, err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(dir, true)
			require.NoError(t, err)
			require.NoError(t, s.Put(ctx, "data/x", []byte("old")))
			for _, path := range []string{filepath.Join(dir, "data", "x"), filepath.Join(dir, "data")} {
				testdisk.HoldFor(t, 50*time.Millisecond, path, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE)
			}
			require.NoError(t, s.Delete(ctx, "data/x"))
			err = call(s)
			if name == "get" || name == "stat" { // Wine lets it be opened until then
				require.True(t, err == nil || errors.Is(err, objstore.ErrNotExist), "%v", err)
			} else {
				require.NoError(t, err)
			}
		})
	}
}
