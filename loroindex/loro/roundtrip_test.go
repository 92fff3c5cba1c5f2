package loro

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// deep is the canonical state of a document.
func deep(d *Doc) string { return string(canon{exact: true}.value(nil, d.DeepValue())) }

func opsOf(t testing.TB, d *Doc) []string {
	t.Helper()
	var out []string
	for op, err := range d.Ops() {
		require.NoError(t, err)
		out = append(out, opJSON(op))
	}
	return out
}

func TestVectorsSurviveExportAndImport(t *testing.T) {
	for _, v := range readManifest(t).Vectors {
		t.Run(v.Name, func(t *testing.T) {
			d := NewDoc(999999999999)
			for _, im := range v.Imports {
				d.Import(readVector(t, im.File))
			}
			if len(d.Pending()) > 0 {
				t.Skip("waits for changes")
			}
			if err := d.supported(); err == nil {
				snap, err := d.ExportSnapshot()
				require.NoError(t, err)
				same(t, d, load(t, snap))
			} else {
				_, err := d.ExportSnapshot()
				require.ErrorIs(t, err, ErrUnsupportedContainer)
			}
			if !d.IsShallow() {
				up, err := d.ExportUpdates(nil)
				require.NoError(t, err)
				e := load(t, up)
				if v.Family == "other-containers" {
					require.Equal(t, opsOf(t, d), opsOf(t, e))
				} else {
					same(t, d, e)
				}
			}
		})
	}
}

func load(t testing.TB, blobs ...[]byte) *Doc {
	t.Helper()
	d := NewDoc(7)
	for _, b := range blobs {
		_, err := d.Import(b)
		require.NoError(t, err)
	}
	return d
}

func same(t testing.TB, want, got *Doc) {
	t.Helper()
	require.Equal(t, want.Version(), got.Version())
	require.Equal(t, want.Frontiers(), got.Frontiers())
	require.Equal(t, deep(want), deep(got))
	require.Equal(t, opsOf(t, want), opsOf(t, got))
	require.NoError(t, got.Verify())
}
