package play

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/hamflx/pocket/loroindex/loro"
)

var strs = []string{"", "a", "né", "日本語", "🙂🙃", `a\b/c"d`, "\x00\x1f\x7f", "\U00010000", "\ue000", "line\r\n\ttab\b\f", "\u2028"}

// Peer returns a peer id: small, near the largest, or anything.
func Peer(r *rand.Rand) loro.PeerID {
	switch r.IntN(4) {
	case 0:
		return loro.PeerID(1 + r.IntN(1000))
	case 1:
		return loro.PeerID(math.MaxUint64 - 1 - r.Uint64N(1<<20))
	}
	return loro.PeerID(1 + r.Uint64N(math.MaxUint64-1))
}

// Value returns a random value of any kind but a container, few deep.
func Value(r *rand.Rand) loro.Value { return value(r, 0) }

func value(r *rand.Rand, depth int) loro.Value {
	kinds := 13
	if depth > 2 {
		kinds = 10
	}
	switch r.IntN(kinds) {
	case 0:
		return loro.Null()
	case 1:
		return loro.Bool(r.IntN(2) == 0)
	case 2:
		return loro.Int(int64(r.IntN(200) - 100))
	case 3: // around the lengths of both integer encodings, within what JavaScript tells apart
		i := int64(1)<<r.IntN(53) - int64(r.IntN(3))
		if r.IntN(2) == 0 {
			i = -i
		}
		return loro.Int(i)
	case 4:
		return loro.Float(float64(r.IntN(100000)) / 7)
	case 5:
		return loro.Float(math.Float64frombits(r.Uint64()))
	case 6:
		return loro.String(strs[r.IntN(len(strs))] + strconv.Itoa(r.IntN(50)))
	case 7:
		return loro.Binary(randomBytes(r, r.IntN(40)))
	case 8:
		return loro.String(strings.Repeat("x", r.IntN(300)))
	case 9:
		return large(r)
	case 10:
		items := make([]loro.Value, r.IntN(4))
		for i := range items {
			items[i] = value(r, depth+1)
		}
		return loro.List(items...)
	default:
		entries := make([]loro.Entry, r.IntN(4))
		for i := range entries {
			entries[i] = loro.Entry{Key: key(r), Value: value(r, depth+1)}
		}
		return loro.MapValue(entries...)
	}
}

// large is now and then longer than a block of a snapshot, which then gets a
// block of its own.
func large(r *rand.Rand) loro.Value {
	switch r.IntN(60) {
	case 0:
		return loro.String(strings.Repeat("large ", 700+r.IntN(12000)))
	case 1:
		return loro.Binary(randomBytes(r, 4000+r.IntN(200)))
	}
	return loro.Int(int64(r.IntN(1e9)))
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func key(r *rand.Rand) string {
	names := []string{"a", "b", "name", "a long key", "é", "日", "\U00010000", "\ue000", "", "0"}
	return names[r.IntN(len(names))] + strconv.Itoa(r.IntN(4))
}
