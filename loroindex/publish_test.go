package loroindex

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestACrashWhilePublishingASnapshotLosesNothing stops the writer before each
// of its writes, and lets another device go on from there.
func TestACrashWhilePublishingASnapshotLosesNothing(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a")
	publishSnapshot(t, x, b)
	publish(t, x, b, "b")
	y := load(t, b, nil, "berta").Index
	publish(t, y, b, "c")
	want := []string{"a", "b", "c"}
	for stop := range 5 {
		c := b.clone()
		writer := load(t, c, nil, "anna").Index
		writes := 0
		c.hook = func(op, key string) error {
			if op == "put" {
				if writes++; writes > stop {
					return errUnreachable
				}
			}
			return nil
		}
		_, _, err := writer.PublishSnapshot(t.Context(), c, nil)
		c.hook = nil
		if stop < 2 {
			require.ErrorIs(t, err, errUnreachable)
		} else {
			require.NoError(t, err)
			require.Equal(t, 2, writes, "an object, then the head")
		}
		require.Equal(t, want, paths(t, load(t, c, nil, "carl").Index))
		publishSnapshot(t, load(t, c, nil, "carl").Index, c)
		require.Equal(t, want, paths(t, load(t, c, nil, "dora").Index))
	}
}

// TestSnapshotsWrittenAtOnce has another device publish a snapshot of its own,
// and delete what that covers, between any two calls of a snapshot being
// published: whoever writes the head last, everything is found from it.
func TestSnapshotsWrittenAtOnce(t *testing.T) {
	for at := 1; ; at++ {
		b := newBucket()
		x := load(t, b, nil, "anna").Index
		publish(t, x, b, "a")
		publishSnapshot(t, x, b)
		publish(t, x, b, "b")
		y := load(t, b, nil, "berta").Index
		n, hit := 0, false
		b.hook = func(op, key string) error {
			if n++; n == at {
				hit = true
				hook := b.hook
				b.hook = nil
				publish(t, y, b, "c")
				id := publishSnapshot(t, y, b)
				for _, k := range b.keys(UpdatePrefix) {
					delete(b.objects, k)
				}
				require.Contains(t, b.keys(""), ObjectKey(id))
				b.hook = hook
			}
			return nil
		}
		_, _, err := x.PublishSnapshot(t.Context(), b, nil)
		b.hook = nil
		require.NoError(t, err)
		if !hit {
			require.Greater(t, at, 6)
			return
		}
		require.Equal(t, []string{"a", "b", "c"}, paths(t, load(t, b, nil, "carl").Index), "before call %d", at)
	}
}

func TestATornSnapshotIsNotMadeTheHead(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a")
	b.hook = func(op, key string) error {
		if op == "get" && strings.HasPrefix(key, ObjectPrefix) {
			b.put(key, []byte("torn"))
		}
		return nil
	}
	_, _, err := x.PublishSnapshot(t.Context(), b, nil)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, ObjectPrefix)
	require.NotContains(t, b.keys(""), HeadKey)
}

func TestEarlierSessionsArePublishedBeforeLaterOnes(t *testing.T) {
	b := newBucket()
	first := load(t, b, nil, "anna").Index
	op := do(t, first, func(tx *Tx) error { _, err := tx.Create(Root, "a", fileInfo, content("a")); return err })
	second := load(t, b, nil, "anna").Index
	_, err := second.Import(op.Update)
	require.NoError(t, err)
	publish(t, second, b, "b")
	_, _, err = second.PublishSnapshot(t.Context(), b, nil)
	require.ErrorIs(t, err, ErrMissing)
	require.NotContains(t, strings.Join(b.keys(""), "\n"), ObjectPrefix)
	_, err = second.Publish(t.Context(), b, op.Span)
	require.NoError(t, err)
	publishSnapshot(t, second, b)
	require.Equal(t, []string{"a", "b"}, paths(t, load(t, b, nil, "berta").Index))
}

// TestASnapshotIsWrittenOnceWhileChangesArePublished publishes a change between any two calls
// of a snapshot being written: it is found, and no further snapshot is written for it.
func TestASnapshotIsWrittenOnceWhileChangesArePublished(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a")
	want, written := []string{"a"}, 0
	var hook func(op, key string) error
	hook = func(op, key string) error {
		if op == "put" && strings.HasPrefix(key, ObjectPrefix) {
			written++
		}
		name := string(rune('a' + len(want)))
		want = append(want, name)
		b.hook = nil
		publish(t, x, b, name)
		b.hook = hook
		return nil
	}
	b.hook = hook
	id, _, err := x.PublishSnapshot(t.Context(), b, nil)
	b.hook = nil
	require.NoError(t, err)
	require.Equal(t, 1, written)
	require.Greater(t, len(want), 4)
	require.Equal(t, want, paths(t, load(t, b, nil, "berta").Index))
	require.Contains(t, x.SnapshotVersion(id), peerID(x.Peer()))
	require.False(t, x.SnapshotVersion(id).Covers(x.Version()), "what was published after it was made")
}
