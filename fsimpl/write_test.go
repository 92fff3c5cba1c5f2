package fsimpl_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/objstore"
)

// afterKill returns a machine that starts from what m's disk would hold if m's process
// were killed at this moment, with a store that has only what m put into it so far.
func (m *machine) afterKill() *machine {
	m.t.Helper()
	copied := &machine{t: m.t, store: m.store, data: m.t.TempDir(), chunk: m.chunk, name: m.name}
	require.NoError(m.t, os.CopyFS(copied.data, os.DirFS(m.data)))
	copied.start()
	m.t.Cleanup(func() {
		if copied.FS != nil {
			_ = copied.leave()
		}
	})
	return copied
}

// TestClosedFileSurvivesAKill guards the order in which create, write and close are
// journaled: only close waits.
func TestClosedFileSurvivesAKill(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags fsimpl.OpenFlags
		body  []byte
	}{
		{"written", readWrite, []byte("content")},
		{"empty", readWrite, nil},
		{"opened to read", fsimpl.OpenRead, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := newFaultStore()
			m := newMachine(t, store, 1<<20)
			store.setFail(func(op, key string) error {
				if op == objstore.OpPut {
					return unavailable(op, key)
				}
				return nil
			})
			f, _, err := m.Create(root, "f", 0o640, me, c.flags)
			require.NoError(t, err)
			if c.body != nil {
				_, err = f.WriteAt(c.body, 0)
				require.NoError(t, err)
			}
			require.NoError(t, f.Flush())
			after := m.afterKill()
			require.Equal(t, len(c.body), len(after.get("f")))
			require.Equal(t, string(c.body), string(after.get("f")))
			a, err := after.Lookup(root, "f")
			require.NoError(t, err)
			require.Equal(t, uint32(0o640), a.Mode)
			require.NoError(t, f.Release())
			store.setFail(nil)
		})
	}
}
