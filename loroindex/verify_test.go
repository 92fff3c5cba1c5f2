package loroindex

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/stretchr/testify/require"
)

func verify(t testing.TB, b Bucket) *Verified {
	t.Helper()
	v, err := Verify(background, b, nil)
	require.NoError(t, err)
	return v
}

func TestSoundIndexHasNoFaults(t *testing.T) {
	s, _, _, want := yard(t)
	v := verify(t, s)
	require.Empty(t, v.Faults)
	require.Empty(t, v.Notes)
	require.ElementsMatch(t, want, paths(t, v.Index))
	require.Equal(t, len(s.keys(ObjectPrefix)), v.Snapshots.Objects)
	require.Equal(t, len(s.keys(UpdatePrefix)), v.Updates.Objects)

	s, _, want = history(t, 60)
	compact(t, s, trimming(s, MinKeep))
	v = verify(t, s)
	require.Empty(t, v.Faults)
	require.ElementsMatch(t, want, paths(t, v.Index))
}

func TestNoIndexIsAnError(t *testing.T) {
	s := newShed()
	require.NoError(t, s.Put(background, "index/other", nil))
	_, err := Verify(background, s, nil)
	require.ErrorIs(t, err, ErrNoIndex)
}

// Every bit of every index object matters.
func TestDamageIsAFaultThatNamesTheObject(t *testing.T) {
	start, _, _, want := yard(t)
	for _, key := range slices.Concat(start.keys(ObjectPrefix), start.keys(UpdatePrefix), []string{HeadKey}) {
		body := start.objects[key].body
		for _, damaged := range [][]byte{{}, body[:len(body)-1], body[:len(body)/2], flip(body, len(body)/2), flip(body, len(body)-1), flip(body, 20), append(slices.Clone(body), 0)} {
			s := start.clone()
			require.NoError(t, s.Put(background, key, damaged))
			v := verify(t, s)
			require.NotEmpty(t, v.Faults, "%s: %d of %d bytes", key, len(damaged), len(body))
			for _, f := range v.Faults {
				if f.Key != HeadKey {
					require.Equal(t, key, f.Key)
				}
				require.NotContains(t, f.What.Error(), "\n")
			}
			// A compaction changes nothing, or can do without.
			before := s.clone()
			if _, err := tryCompact(s, CompactOptions{}); err != nil {
				require.Equal(t, before.objects, s.objects)
			} else {
				require.ElementsMatch(t, want, shows(t, s))
			}
		}
	}
}

func flip(b []byte, i int) []byte {
	if i >= len(b) {
		i = len(b) - 1
	}
	b = slices.Clone(b)
	b[i] ^= 1
	return b
}

func TestWhatIsMissingIsAFault(t *testing.T) {
	s := newShed()
	w := newWriter(t, s, "anna", 1)
	w.write(s, 1)
	w.write(s, 1)
	w.write(s, 1)
	keys := s.keys(UpdatePrefix)
	require.Len(t, keys, 3)
	require.NoError(t, s.Delete(background, keys[1]))
	v := verify(t, s)
	require.Len(t, v.Faults, 1)
	require.Equal(t, keys[2], v.Faults[0].Key)
	require.ErrorIs(t, v.Faults[0].What, ErrMissing)

	s, _, _, _ = yard(t)
	h, err := readHead(background, s)
	require.NoError(t, err)
	require.NoError(t, s.Delete(background, ObjectKey(h.id)))
	v = verify(t, s)
	require.NotEmpty(t, v.Faults)
	require.Equal(t, HeadKey, v.Faults[0].Key)
}

func TestHeadOfNothingIsDamage(t *testing.T) {
	s := newShed()
	for _, head := range []string{objectid.Of(nil).String(), "x"} {
		require.NoError(t, s.Put(background, HeadKey, []byte(head)))
		v := verify(t, s)
		require.Len(t, v.Faults, 1)
		require.Equal(t, HeadKey, v.Faults[0].Key)
		require.Nil(t, v.Index)
		before := s.clone()
		_, err := tryCompact(s, CompactOptions{})
		require.ErrorIs(t, err, ErrDamaged)
		require.Equal(t, before.objects, s.objects)
	}
}

func TestUpdateUnderAnotherKeyIsAFault(t *testing.T) {
	s := newShed()
	w := newWriter(t, s, "anna", 1)
	w.write(s, 1)
	key := s.keys(UpdatePrefix)[0]
	span, err := ParseUpdateKey(key)
	require.NoError(t, err)
	for _, other := range []Span{{span.Peer, span.Start, span.End + 1}, {span.Peer, span.Start + 1, span.End}, {span.Peer + 1, span.Start, span.End}} {
		s := s.clone()
		require.NoError(t, s.Put(background, UpdateKey(other), s.objects[key].body))
		v := verify(t, s)
		require.Len(t, v.Faults, 1)
		require.Equal(t, UpdateKey(other), v.Faults[0].Key)
	}
}

// A peer that was used twice, as after restoring a machine from a backup: other
// operations under the same numbers. No reader notices; all objects decode.
func TestOperationsThatDifferAreAFault(t *testing.T) {
	other := newShed()
	newWriter(t, other, "anna", 1).write(other, 2)
	stray := other.keys(UpdatePrefix)[0]

	s := newShed()
	w := newWriter(t, s, "anna", 1)
	op := do(t, w.Index, func(tx *Tx) error {
		for _, name := range []string{"x", "y"} {
			if _, err := tx.Create(Root, name, fileInfo, content(name)); err != nil {
				return err
			}
		}
		return nil
	})
	require.Equal(t, stray, UpdateKey(op.Span))
	_, err := w.Publish(background, s, op.Span)
	require.NoError(t, err)
	w.snapshot(s)
	require.Empty(t, verify(t, s).Faults)

	one := s.clone()
	require.NoError(t, one.Put(background, stray, other.objects[stray].body))
	v := verify(t, one)
	require.Len(t, v.Faults, 1)
	require.Equal(t, stray, v.Faults[0].Key)
	require.Contains(t, v.Faults[0].What.Error(), "of peer 0000000000000001 is another one")

	// The same between two snapshots.
	x, err := Load(background, other, nil, Options{})
	require.NoError(t, err)
	x.Index.mu.Lock()
	body, err := x.Index.doc.ExportSnapshot()
	x.Index.mu.Unlock()
	require.NoError(t, err)
	two := s.clone()
	require.NoError(t, two.Put(background, ObjectKey(objectid.Of(body)), body))
	v = verify(t, two)
	require.NotEmpty(t, v.Faults)
	require.True(t, strings.HasPrefix(v.Faults[0].Key, ObjectPrefix))
}

func TestStateThatIsNotWhatTheHistoryGivesIsAFault(t *testing.T) {
	s := newShed()
	w := newWriter(t, s, "anna", 1)
	w.write(s, 2)
	w.snapshot(s)
	other := newShed()
	o := newWriter(t, other, "anna", 1)
	o.n = 5 // other names
	o.write(other, 2)
	o.snapshot(other)
	key := s.keys(ObjectPrefix)[0]
	forged := withState(s.objects[key].body, other.objects[other.keys(ObjectPrefix)[0]].body)
	_, err := loro.Peek(forged)
	require.NoError(t, err)
	require.NoError(t, s.Delete(background, key))
	id := objectid.Of(forged)
	require.NoError(t, s.Put(background, ObjectKey(id), forged))
	require.NoError(t, s.Put(background, HeadKey, []byte(id.String())))
	v := verify(t, s)
	require.NotEmpty(t, v.Faults)
	require.Equal(t, ObjectKey(id), v.Faults[0].Key)
	require.ErrorIs(t, v.Faults[0].What, loro.ErrDiverged)
	_, err = tryCompact(s, CompactOptions{})
	require.ErrorIs(t, err, loro.ErrDiverged)
}

// withState returns a snapshot with the history of one and the state of another.
func withState(history, state []byte) []byte {
	const header = 22
	sections := func(b []byte) (s [3][]byte) {
		b = b[header:]
		for i := range s {
			n := 4 + binary.LittleEndian.Uint32(b)
			s[i], b = b[:n], b[n:]
		}
		return s
	}
	h, st := sections(history), sections(state)
	out := slices.Concat(history[:header], h[0], st[1], h[2])
	binary.LittleEndian.PutUint32(out[16:], xxh32(out[20:], 0x4f524f4c))
	return out
}

// xxh32 is the checksum of blobs,
// https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md.
func xxh32(b []byte, seed uint32) uint32 {
	const p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
	h, n := seed+p5, uint32(len(b))
	if len(b) >= 16 {
		sum := seed + p1
		v := [4]uint32{sum + p2, seed + p2, seed, seed - p1}
		for len(b) >= 16 {
			for i := range v {
				v[i] = bits.RotateLeft32(v[i]+binary.LittleEndian.Uint32(b[4*i:])*p2, 13) * p1
			}
			b = b[16:]
		}
		h = bits.RotateLeft32(v[0], 1) + bits.RotateLeft32(v[1], 7) + bits.RotateLeft32(v[2], 12) + bits.RotateLeft32(v[3], 18)
	}
	h += n
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*p3, 17) * p4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*p5, 11) * p1
	}
	h = (h ^ h>>15) * p2
	h = (h ^ h>>13) * p3
	return h ^ h>>16
}

func TestForeignAndNewerDocumentsAreFaults(t *testing.T) {
	put := func(schema loro.Value) *shed {
		s := newShed()
		doc := loro.NewDoc(5)
		require.NoError(t, doc.Map("other").Set("k", loro.Int(1)))
		if !schema.IsNull() {
			require.NoError(t, doc.Map(rootMap).Set(keySchema, schema))
		}
		doc.Commit()
		body, err := doc.ExportSnapshot()
		require.NoError(t, err)
		require.NoError(t, s.Put(background, ObjectKey(objectid.Of(body)), body))
		require.NoError(t, s.Put(background, HeadKey, []byte(objectid.Of(body).String())))
		return s
	}
	for _, c := range []struct {
		schema loro.Value
		want   error
	}{{loro.Null(), ErrForeign}, {loro.Int(schemaVersion + 1), ErrNewerSchema}} {
		s := put(c.schema)
		v := verify(t, s)
		require.NotEmpty(t, v.Faults)
		require.ErrorIs(t, v.Faults[0].What, c.want)
		require.Nil(t, v.Index)
		before := s.clone()
		_, err := tryCompact(s, CompactOptions{})
		require.ErrorIs(t, err, c.want)
		require.Equal(t, before.objects, s.objects)
	}
}

func TestLeftoversAreNotes(t *testing.T) {
	s, _, _, _ := yard(t)
	require.NoError(t, s.Delete(background, HeadKey))
	require.NoError(t, s.Put(background, "index/objects/README", nil))
	v := verify(t, s)
	require.Empty(t, v.Faults)
	require.Len(t, v.Notes, 2)
}
