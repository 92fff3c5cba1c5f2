package loroindex

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// The first Pocket (schema 1; github.com/hamflx/pocket, src/index_crdt.rs) kept
// a root Map "entries": path, with "\" before every name and alone for the root,
// to a Map of these fields. Times are Windows FILETIME: 100 ns since 1601.
const (
	firstIsDir   = "is_dir"
	firstSize    = "size"
	firstAttr    = "attributes"
	firstCreated = "creation_time"
	firstWritten = "last_write_time"
	firstChanged = "change_time"
	firstObject  = "object_id" // hexadecimal, or null
)

// migrationDevice is the device that the migration's operations are recorded
// under.
const migrationDevice = "first Pocket"

// startOrMigrate begins the view; an index of schema 1 is migrated first. It
// returns the operations that did so.
func (x *Index) startOrMigrate() ([]Op, error) {
	var ops []Op
	if x.isFirst() {
		if err := x.migrate(); err != nil {
			return nil, err
		}
		op, err := x.migration()
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, x.start()
}

// migration exports the operations of the migration.
func (x *Index) migration() (Op, error) {
	body, err := x.export(x.migrated)
	return Op{x.migrated, body}, err
}

// migrate makes the tree of schema 2 out of the entries of schema 1, which stay.
// What it records depends on the document alone, the peer included: devices
// that migrate the same document at once record the same operations.
func (x *Index) migrate() error {
	peer := migrationPeer(x.doc.Version())
	// Operations of another peer need a document of their own.
	blob, err := x.doc.ExportSnapshot()
	if err != nil {
		return fmt.Errorf("migrate the index of the first Pocket: %w", err)
	}
	doc := loro.NewDoc(peer)
	if _, err := doc.Import(blob); err != nil {
		return fmt.Errorf("migrate the index of the first Pocket: %w", err)
	}
	doc.SetCommitInfo(migrationDevice, nil)
	m := migration{doc: doc, tree: doc.Tree(treeName), dirs: make(map[string]loro.TreeID)}
	if err := m.run(); errors.Is(err, ErrForeign) {
		return err
	} else if err != nil {
		return fmt.Errorf("migrate the index of the first Pocket: %w", err)
	}
	end := doc.Version()[peer]
	ops, err := doc.ExportRange(loro.IDSpan{Peer: peer, End: end})
	if err == nil {
		_, err = x.doc.Import(ops)
	}
	if err != nil {
		return fmt.Errorf("migrate the index of the first Pocket: %w", err)
	}
	x.migrated = Span{Peer: uint64(peer), End: end}
	return nil
}

// migrationPeer derives a peer from what a document includes.
func migrationPeer(v Version) loro.PeerID {
	h := sha256.New()
	h.Write([]byte("pocket: migration of schema 1\n"))
	for _, p := range slices.Sorted(maps.Keys(v)) {
		var b [12]byte
		binary.BigEndian.PutUint64(b[:], uint64(p))
		binary.BigEndian.PutUint32(b[8:], uint32(v[p]))
		h.Write(b[:])
	}
	p := binary.BigEndian.Uint64(h.Sum(nil))
	return loro.PeerID(max(1, min(p, math.MaxUint64-1))) // the ends are reserved
}

// migration is a migration under way.
type migration struct {
	doc  *loro.Doc
	tree loro.Tree
	dirs map[string]loro.TreeID // directories made, by their names with "\" between
	made int
}

// firstEntry is an entry of schema 1.
type firstEntry struct {
	key    string
	names  []string
	dir    bool
	info   Info
	body   Content
	fields bool // any of its fields could be read
}

// run records the whole migration.
func (m *migration) run() error {
	pocket := m.doc.Map(rootMap)
	if err := pocket.Set(keySchema, loro.Int(schemaVersion)); err != nil {
		return err
	}
	if err := pocket.Set(keyEpoch, loro.Int(firstEpoch)); err != nil {
		return err
	}
	var entries []firstEntry
	all := 0
	for key, val := range m.doc.Map(firstMap).All() {
		all++
		if e := m.read(key, val); e.fields {
			entries = append(entries, e)
		}
	}
	if all > 0 && len(entries) == 0 {
		return fmt.Errorf("%w: nothing in its %q is an entry of the first Pocket", ErrForeign, firstMap)
	}
	// Directories come before what is in them, whatever their names sort like.
	slices.SortFunc(entries, func(a, b firstEntry) int {
		if c := slices.Compare(a.names, b.names); c != 0 {
			return c
		}
		return cmp.Compare(a.key, b.key)
	})
	for i := range entries {
		if err := m.entry(pocket, &entries[i]); err != nil {
			return fmt.Errorf("%q: %w", entries[i].key, err)
		}
	}
	m.doc.Commit()
	return nil
}

func (m *migration) entry(pocket loro.Map, e *firstEntry) error {
	if len(e.names) == 0 {
		if err := pocket.Set(keyInfo, encodeInfo(e.info, "", loro.Null())); err != nil {
			return err
		}
		return pocket.Set(keyContent, encodeContent(e.body, loro.Null()))
	}
	path := strings.Join(e.names, `\`)
	if _, ok := m.dirs[path]; ok && e.dir {
		return nil // the same path, written in two ways
	}
	parent, err := m.parent(e.names[:len(e.names)-1], e)
	if err != nil {
		return err
	}
	id, err := m.make(parent, e.names[len(e.names)-1], e.info, e.body)
	if err == nil && e.dir {
		m.dirs[path] = id
	}
	return err
}

// parent returns the directory at a path, and makes it and those above it if
// they are missing: moves of the first Pocket could lose them.
func (m *migration) parent(names []string, e *firstEntry) (loro.TreeID, error) {
	id := loro.TreeRoot
	for i, name := range names {
		path := strings.Join(names[:i+1], `\`)
		next, ok := m.dirs[path]
		if !ok {
			info := Info{Kind: Dir, Mode: defaultMode(Dir), Created: e.info.Created, UID: -1, GID: -1}
			var err error
			if next, err = m.make(id, name, info, Content{ModTime: e.info.Created}); err != nil {
				return id, err
			}
			m.dirs[path] = next
		}
		id = next
	}
	return id, nil
}

func (m *migration) make(parent loro.TreeID, name string, info Info, c Content) (loro.TreeID, error) {
	// Some Loro versions take very long over a change of very many operations.
	const perCommit = 100
	if m.made++; m.made%perCommit == 0 {
		m.doc.Commit()
	}
	id, err := m.tree.Create(parent)
	if err != nil {
		return id, err
	}
	meta := m.tree.Meta(id)
	if err := meta.Set(keyName, loro.String(name)); err != nil {
		return id, err
	}
	if err := meta.Set(keyInfo, encodeInfo(info, "", loro.Null())); err != nil {
		return id, err
	}
	if c = c.of(info, true); c == (Content{}).of(info, false) {
		return id, nil
	}
	return id, meta.Set(keyContent, encodeContent(c, loro.Null()))
}

// read takes an entry over. What is missing or of another type gets what a new
// file has; an entry of which nothing can be read is none.
func (m *migration) read(key string, val loro.Value) firstEntry {
	get := val.Get
	if id, ok := val.AsContainer(); ok {
		entry, ok := m.doc.MapOf(id)
		if !ok {
			return firstEntry{}
		}
		get = entry.Get
	}
	e := firstEntry{key: key}
	number := func(field string) (int64, bool) {
		v, _ := get(field)
		i, ok := v.AsInt()
		if f, isFloat := v.AsFloat(); isFloat && f == math.Trunc(f) && math.Abs(f) < 1<<62 {
			i, ok = int64(f), true // as a writer in JavaScript leaves it
		}
		e.fields = e.fields || ok
		return i, ok
	}
	if v, ok := get(firstIsDir); ok {
		e.dir, ok = v.AsBool()
		e.fields = e.fields || ok
	}
	for name := range strings.SplitSeq(key, `\`) {
		if name != "" {
			e.names = append(e.names, name)
		}
	}
	if len(e.names) == 0 {
		e.dir = true
	}
	e.info = Info{Kind: File, UID: -1, GID: -1}
	if e.dir {
		e.info.Kind = Dir
	}
	attr, _ := number(firstAttr)
	e.info.Attributes = uint32(attr)
	e.info.Mode = defaultMode(e.info.Kind)
	const readOnly = 1
	if attr&readOnly != 0 && !e.dir {
		e.info.Mode &^= 0o222
	}
	written, haveWritten := number(firstWritten)
	created, ok := number(firstCreated)
	if !ok {
		created = written
	}
	e.info.Created = unixMicro(created)
	e.body.ModTime = unixMicro(written)
	if !haveWritten {
		e.body.ModTime = e.info.Created
	}
	if changed, ok := number(firstChanged); ok {
		e.info.Changed = unixMicro(changed)
	}
	size, _ := number(firstSize)
	e.body.Size = max(size, 0)
	if v, ok := get(firstObject); ok {
		if s, ok := v.AsString(); ok {
			id, err := objectid.Parse(strings.ToLower(s))
			e.fields = e.fields || err == nil
			if err == nil {
				e.body.Object = id
			}
		}
	}
	return e
}

// unixMicro turns a FILETIME into microseconds since 1970, rounding down. 0,
// which the first Pocket wrote for no time, stays 0.
func unixMicro(filetime int64) int64 {
	const epoch = 116444736000000000 // 1970-01-01 in 100 ns since 1601
	if filetime <= 0 {
		return 0
	}
	t := filetime - epoch
	us := t / 10
	if t < 0 && t%10 != 0 {
		us--
	}
	return us
}

// publishMigration writes the operations of a migration, which everything this
// index did builds on, unless the bucket has them.
func (x *Index) publishMigration(ctx context.Context, b Bucket) error {
	s := x.migrated
	if s.End == 0 || covers(x.shelf.version(), s) {
		return nil
	}
	body, err := x.Export(s)
	if err != nil {
		return err
	}
	key := UpdateKey(s)
	if err := b.Put(ctx, key, body); err != nil {
		return &KeyError{"put", key, err}
	}
	x.shelf.noteSpan(s)
	return nil
}
