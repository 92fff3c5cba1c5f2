package objstore

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxKeyLen is the length of the longest key, in bytes. It is S3's limit:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
const MaxKeyLen = 1024

// CheckKey returns nil for a key that every store understands: valid UTF-8 of
// 1 to MaxKeyLen bytes, made of segments separated by single slashes, none of
// them "." or "..", without control characters, U+FFFE and U+FFFF (S3 lists
// keys in XML, which cannot hold those). Otherwise the error is ErrInvalidKey
// and says what is wrong.
func CheckKey(key string) error {
	if err := checkKey(key); err != nil {
		return &Error{Key: key, Kind: ErrInvalidKey, Err: err}
	}
	return nil
}

func checkKey(key string) error {
	switch {
	case key == "":
		return errors.New("it is empty")
	case len(key) > MaxKeyLen:
		return fmt.Errorf("it has %d bytes, more than %d", len(key), MaxKeyLen)
	case !utf8.ValidString(key):
		return errors.New("it is not UTF-8")
	}
	for _, r := range key {
		if r < ' ' || r == 0x7f || r == 0xfffe || r == 0xffff {
			return fmt.Errorf("it contains the character %U", r)
		}
	}
	for rest, more := key, true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		switch segment {
		case "":
			return errors.New("it has an empty segment (a slash at its start or end, or two in a row)")
		case ".", "..":
			return fmt.Errorf("it has the segment %q", segment)
		}
	}
	return nil
}
