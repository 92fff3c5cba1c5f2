package loroindex

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hamflx/pocket/internal/objectid"
)

// Keys of the index below a mount's prefix (docs/format.md, "Keys").
const (
	// HeadKey names the newest snapshot: its SHA-256 in hex and nothing else.
	HeadKey = "index/head"
	// TipKey changes with every publish.
	TipKey = "index/tip"
	// ObjectPrefix is the folder of snapshots.
	ObjectPrefix = "index/objects/"
	// UpdatePrefix is the folder of updates.
	UpdatePrefix = "index/updates/"
)

// ObjectKey is the key of a snapshot with the given SHA-256.
func ObjectKey(id objectid.ID) string { return ObjectPrefix + id.String() }

// ParseObjectKey reads a key written by ObjectKey.
func ParseObjectKey(key string) (objectid.ID, error) {
	name, ok := strings.CutPrefix(key, ObjectPrefix)
	if !ok {
		return objectid.ID{}, fmt.Errorf("key %q is not below %s", key, ObjectPrefix)
	}
	id, err := objectid.Parse(name)
	if err != nil {
		return objectid.ID{}, fmt.Errorf("key %q: %w", key, err)
	}
	return id, nil
}

// UpdateKey is the key of the update object of a span:
// index/updates/<peer, 16 hex>/<start, 8 hex>-<end, 8 hex>.
func UpdateKey(s Span) string {
	return fmt.Sprintf("%s%016x/%08x-%08x", UpdatePrefix, s.Peer, uint32(s.Start), uint32(s.End))
}

// ParseUpdateKey reads a key written by UpdateKey. Start < End holds for the
// span returned.
func ParseUpdateKey(key string) (Span, error) {
	name, ok := strings.CutPrefix(key, UpdatePrefix)
	if !ok {
		return Span{}, fmt.Errorf("key %q is not below %s", key, UpdatePrefix)
	}
	if len(name) != 16+1+8+1+8 || name[16] != '/' || name[25] != '-' {
		return Span{}, fmt.Errorf("key %q is not peer/start-end in hexadecimal", key)
	}
	peer, err1 := parseHex(name[:16])
	start, err2 := parseHex(name[17:25])
	end, err3 := parseHex(name[26:])
	if err1 != nil || err2 != nil || err3 != nil || start >= end || end > 1<<31-1 {
		return Span{}, fmt.Errorf("key %q is not peer/start-end in hexadecimal", key)
	}
	return Span{Peer: peer, Start: int32(start), End: int32(end)}, nil
}

func parseHex(s string) (uint64, error) {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return 0, fmt.Errorf("%q is not lower-case hexadecimal", s)
		}
	}
	return strconv.ParseUint(s, 16, 64)
}
