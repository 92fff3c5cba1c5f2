package loroindex

import (
	"unicode/utf8"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// Names in the document (docs/format.md, "Index document").
const (
	treeName = "files"
	rootMap  = "pocket"

	schemaVersion = 2 // what this version reads and writes
	firstEpoch    = 1 // of a document that was never rebuilt

	keySchema = "schema"
	keyEpoch  = "epoch"

	keyName    = "name"
	keyInfo    = "info"
	keyContent = "content"

	infoKind    = "kind"
	infoMode    = "mode"
	infoAttr    = "attr"
	infoCreated = "created"
	infoChanged = "changed"
	infoTarget  = "target"
	infoUID     = "uid"
	infoGID     = "gid"
	infoRdev    = "rdev"

	contentSize     = "size"
	contentModTime  = "mtime"
	contentObject   = "object"
	contentManifest = "manifest"
	contentFirst    = "first"
)

// maxTarget is the longest link target kept from the document; Linux allows
// 4095 bytes, Windows 32767 UTF-16 units.
const maxTarget = 1 << 17

func kindOf(s []byte) (Kind, bool) {
	for i, n := range kindNames {
		if n == string(s) {
			return Kind(i), true
		}
	}
	return File, false
}

// bytesOf returns the bytes of a string or binary, if the value is that.
func bytesOf(v loro.Raw, k loro.Kind) ([]byte, bool) {
	if v.Kind() != k {
		return nil, false
	}
	return v.Bytes()
}

// decodedInfo is an info value of the document.
type decodedInfo struct {
	Info
	kindName  string // the kind's name, when it is none known here
	kindKnown bool
	moded     bool // Mode is in the value
	more      bool // holds keys, or a kind, unknown here
}

// decodeInfo reads an info value. Everything is optional and what has another
// type counts as absent: a value written by another version must not hide a
// node.
func decodeInfo(v loro.Raw) decodedInfo {
	d := decodedInfo{Info: Info{UID: -1, GID: -1}}
	for key, val := range v.Entries() {
		switch key {
		case infoKind:
			b, _ := bytesOf(val, loro.KindString)
			if d.Kind, d.kindKnown = kindOf(b); !d.kindKnown {
				d.kindName, d.more = string(b), true
			}
		case infoMode:
			if i, ok := val.Int(); ok {
				d.Mode, d.moded = uint32(i&0o7777), true
			}
		case infoAttr:
			if i, ok := val.Int(); ok {
				d.Attributes = uint32(i)
			}
		case infoCreated:
			d.Created, _ = val.Int()
		case infoChanged:
			d.Changed, _ = val.Int()
		case infoTarget:
			if b, ok := bytesOf(val, loro.KindString); ok && len(b) <= maxTarget {
				d.Target = string(b)
			}
		case infoUID:
			if i, ok := val.Int(); ok {
				d.UID = i
			}
		case infoGID:
			if i, ok := val.Int(); ok {
				d.GID = i
			}
		case infoRdev:
			i, _ := val.Int()
			d.Rdev = uint64(i)
		default:
			d.more = true
		}
	}
	if !d.moded {
		d.Mode = defaultMode(d.Kind)
	}
	d.Changed = max(d.Changed, d.Created)
	return d
}

func defaultMode(k Kind) uint32 {
	switch k {
	case Dir:
		return 0o755
	case Symlink:
		return 0o777
	}
	return 0o644
}

// encodeInfo makes an info value. What is at its default is left out. Keys of
// prev that are unknown here are kept; kind overrides the kind's name.
func encodeInfo(info Info, kind string, prev loro.Value) loro.Value {
	es := make([]loro.Entry, 0, 10)
	for key, val := range prev.Entries() {
		switch key {
		case infoKind, infoMode, infoAttr, infoCreated, infoChanged, infoTarget, infoUID, infoGID, infoRdev:
		default:
			es = append(es, loro.Entry{Key: key, Value: val})
		}
	}
	add := func(key string, v loro.Value) { es = append(es, loro.Entry{Key: key, Value: v}) }
	if kind == "" {
		kind = info.Kind.String()
	}
	add(infoKind, loro.String(kind))
	add(infoMode, loro.Int(int64(info.Mode&0o7777)))
	add(infoCreated, loro.Int(info.Created))
	if info.Changed > info.Created {
		add(infoChanged, loro.Int(info.Changed))
	}
	if info.Attributes != 0 {
		add(infoAttr, loro.Int(int64(info.Attributes)))
	}
	if info.Target != "" {
		add(infoTarget, loro.String(info.Target))
	}
	if info.UID != -1 {
		add(infoUID, loro.Int(info.UID))
	}
	if info.GID != -1 {
		add(infoGID, loro.Int(info.GID))
	}
	if info.Rdev != 0 {
		add(infoRdev, loro.Int(int64(info.Rdev)))
	}
	return loro.MapValue(es...)
}

// decodedContent is a content value of the document.
type decodedContent struct {
	Content
	timed bool // ModTime is in the value
	more  bool // holds keys unknown here
}

func decodeContent(v loro.Raw) decodedContent {
	var d decodedContent
	for key, val := range v.Entries() {
		switch key {
		case contentSize:
			i, _ := val.Int()
			d.Size = max(i, 0)
		case contentModTime:
			d.ModTime, d.timed = val.Int()
		case contentObject:
			if b, ok := bytesOf(val, loro.KindBinary); ok && len(b) == objectid.Size {
				d.Object = objectid.ID(b)
			}
		case contentManifest:
			d.Manifest, _ = val.Bool()
		case contentFirst:
			if b, ok := bytesOf(val, loro.KindBinary); ok && len(b) == objectid.Size {
				d.First = objectid.ID(b)
			}
		default:
			d.more = true
		}
	}
	if !d.Manifest {
		d.First = objectid.ID{}
	}
	return d
}

// encodeContent makes a content value. Keys of prev that are unknown here are
// kept.
func encodeContent(c Content, prev loro.Value) loro.Value {
	es := make([]loro.Entry, 0, 7)
	for key, val := range prev.Entries() {
		switch key {
		case contentSize, contentModTime, contentObject, contentManifest, contentFirst:
		default:
			es = append(es, loro.Entry{Key: key, Value: val})
		}
	}
	es = append(es, loro.Entry{Key: contentModTime, Value: loro.Int(c.ModTime)})
	if c.Size != 0 {
		es = append(es, loro.Entry{Key: contentSize, Value: loro.Int(c.Size)})
	}
	if !c.Object.IsZero() {
		es = append(es, loro.Entry{Key: contentObject, Value: loro.Binary(c.Object[:])})
	}
	if c.Manifest {
		es = append(es, loro.Entry{Key: contentManifest, Value: loro.Bool(true)})
		if !c.First.IsZero() {
			es = append(es, loro.Entry{Key: contentFirst, Value: loro.Binary(c.First[:])})
		}
	}
	return loro.MapValue(es...)
}

// checkInfo says whether a local edit may write info.
func checkInfo(info Info) error {
	switch {
	case int(info.Kind) >= len(kindNames):
		return &factError{"kind", "is unknown"}
	case info.Mode&^0o7777 != 0:
		return &factError{"mode", "has bits beyond 07777"}
	case len(info.Target) > maxTarget:
		return &factError{"link target", "is too long"}
	case !utf8.ValidString(info.Target):
		return &factError{"link target", "is not UTF-8"}
	}
	return nil
}

// factError is an ErrInvalid about one fact.
type factError struct{ fact, what string }

func (e *factError) Error() string { return ErrInvalid.Error() + ": " + e.fact + " " + e.what }
func (e *factError) Unwrap() error { return ErrInvalid }
