// Package objectid names stored objects by the SHA-256 of their bytes.
//
// An ID is what the index and the manifests refer to; ID.Key is where the
// object lies below a mount's prefix (docs/format.md, "Keys").
package objectid

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Size is the length of an ID in bytes.
const Size = sha256.Size

// KeyPrefix is the folder of content objects below a mount's prefix.
const KeyPrefix = "data/"

// ID is the SHA-256 of an object's bytes. The zero ID names no object: the
// content of an empty file, or a hole.
type ID [Size]byte

// Of returns the ID of body.
func Of(body []byte) ID { return sha256.Sum256(body) }

// Parse reads the 64 lower-case hexadecimal digits that String writes.
func Parse(s string) (ID, error) {
	var id ID
	if len(s) != 2*Size {
		return ID{}, fmt.Errorf("object id has %d characters, want %d", len(s), 2*Size)
	}
	for i := range s {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ID{}, fmt.Errorf("object id has the character %q, want lower-case hexadecimal digits", c)
		}
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("object id: %w", err)
	}
	return id, nil
}

// IsZero reports whether id names no object.
func (id ID) IsZero() bool { return id == ID{} }

// String returns id as 64 lower-case hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Key returns the object's key below the mount's prefix: "data/" and String.
func (id ID) Key() string { return KeyPrefix + id.String() }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
