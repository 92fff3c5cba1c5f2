package loro

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The vectors were written by the official JavaScript library, two versions of
// it, and say what it shows after every import. LORO_VECTORS names a directory
// with another set of them.
func vectorsDir() string {
	if dir := os.Getenv("LORO_VECTORS"); dir != "" {
		return dir
	}
	return filepath.Join("testdata", "vectors")
}

type manifest struct {
	Vectors []vector
	Hostile []hostile
}

type vector struct {
	Name, Family, Ver string
	Imports           []struct {
		File, Kind string
		After      struct {
			OK        bool
			VV        map[string]int32
			Frontiers []string
			StateSha  string
			Pending   map[string][2]int32
		}
	}
	Expect struct {
		File         string
		OpsSha       *string
		HandWritten  bool
		ShallowSince *struct {
			VV        map[string]int32
			Frontiers []string
		}
	}
}

type hostile struct {
	Name, File string
	Verdict    map[string]string
}

func readManifest(t testing.TB) manifest {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectorsDir(), "manifest.json"))
	require.NoError(t, err)
	var m manifest
	require.NoError(t, json.Unmarshal(b, &m))
	return m
}

func readVector(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectorsDir(), filepath.FromSlash(file)))
	require.NoError(t, err)
	return b
}

// mergeable containers, since 1.13, are shown by 1.17.1 where their marker is.
// Here the marker is the binary it is stored as.
func skipState(v *vector) bool {
	return v.Family == "other-containers"
}

func TestVectors(t *testing.T) {
	for _, v := range readManifest(t).Vectors {
		t.Run(v.Name, func(t *testing.T) {
			d := NewDoc(999999999999)
			for i, im := range v.Imports {
				before := d.Version()
				status, err := d.Import(readVector(t, im.File))
				require.Equal(t, im.After.OK, err == nil, "import %d: %v", i, err)
				if err != nil {
					require.Equal(t, before, d.Version())
					require.ErrorIs(t, err, ErrShallowDeps)
				}
				checkAfter(t, d, &v, i)
				if err == nil {
					require.Equal(t, im.After.Pending, pendingJSON(status.Pending), "pending after import %d", i)
				}
			}
			if s := v.Expect.ShallowSince; s != nil {
				vv, f := d.ShallowSince()
				require.True(t, d.IsShallow())
				require.Equal(t, s.VV, vvJSON(vv))
				require.Equal(t, s.Frontiers, frontiersJSON(f))
			} else {
				require.False(t, d.IsShallow())
			}
			checkOps(t, d, &v)
			require.NoError(t, d.Verify())
		})
	}
}

func checkAfter(t *testing.T, d *Doc, v *vector, i int) {
	t.Helper()
	after := v.Imports[i].After
	require.Equal(t, after.VV, vvJSON(d.Version()), "version after import %d", i)
	require.Equal(t, after.Frontiers, frontiersJSON(d.Frontiers()), "frontiers after import %d", i)
	if skipState(v) {
		return
	}
	c := canon{exact: v.Expect.HandWritten && i == len(v.Imports)-1}
	got := c.value(nil, d.DeepValue())
	if sum(got) != after.StateSha {
		var want struct{ State json.RawMessage }
		readExpect(t, v, &want)
		require.Equal(t, indent(want.State), indent(got), "state after import %d", i)
	}
}

func checkOps(t *testing.T, d *Doc, v *vector) {
	t.Helper()
	if v.Expect.OpsSha == nil {
		return
	}
	var ops []string
	others := false
	for op, err := range d.Ops() {
		require.NoError(t, err)
		if op.Kind == OpOther {
			others = true
			continue
		}
		ops = append(ops, opJSON(op))
	}
	if others {
		// How those of other containers are divided is up to each library.
		var want struct{ Ops []json.RawMessage }
		readExpect(t, v, &want)
		want.Ops = slices.DeleteFunc(want.Ops, func(op json.RawMessage) bool {
			var w struct{ Container string }
			require.NoError(t, json.Unmarshal(op, &w))
			return !strings.HasSuffix(w.Container, ":Map") && !strings.HasSuffix(w.Container, ":Tree")
		})
		require.Len(t, ops, len(want.Ops))
		for i := range ops {
			require.JSONEq(t, string(want.Ops[i]), ops[i])
		}
		return
	}
	got := "[" + strings.Join(ops, ",") + "]"
	if sum([]byte(got)) != *v.Expect.OpsSha {
		var want struct{ Ops json.RawMessage }
		readExpect(t, v, &want)
		require.Equal(t, indent(want.Ops), indent([]byte(got)), "operations")
	}
}

func TestHostileVectorsAreRejectedWhereTheOfficialLibraryRejects(t *testing.T) {
	for _, h := range readManifest(t).Hostile {
		t.Run(h.Name, func(t *testing.T) {
			blob := readVector(t, h.File)
			mustReject := !strings.HasPrefix(h.Verdict["1.17.1"], "accept ")
			for _, d := range []*Doc{NewDoc(1), docWithAnEdit(t)} {
				before := string(canon{}.value(nil, d.DeepValue()))
				vv := d.Version()
				_, err := d.Import(blob)
				if mustReject {
					require.ErrorIs(t, err, ErrInvalid)
				}
				if err != nil {
					require.Equal(t, vv, d.Version())
					require.Equal(t, before, string(canon{}.value(nil, d.DeepValue())))
				}
			}
		})
	}
}

func docWithAnEdit(t testing.TB) *Doc {
	d := NewDoc(42)
	n, err := d.Tree("files").Create(TreeRoot)
	require.NoError(t, err)
	require.NoError(t, d.Tree("files").Meta(n).Set("name", String("x")))
	d.Commit()
	return d
}

// canon writes values as the vectors' canonical JSON. JavaScript cannot tell an
// integral double from an integer, so unless exact is set those become integers.
type canon struct {
	exact bool
	ops   bool // binary as a list of integers, containers as 🦜 strings
}

func (c canon) value(b []byte, v Value) []byte {
	switch v.Kind() {
	case KindInt:
		i, _ := v.AsInt()
		switch {
		case i <= 1<<53-1 && i >= -(1<<53-1):
		case c.exact:
			return fmt.Appendf(b, `{"$i64":"%d"}`, i)
		default: // JavaScript sees the double next to it
			return fmt.Appendf(b, `{"$num":"%016x"}`, math.Float64bits(float64(i)))
		}
		return strconv.AppendInt(b, i, 10)
	case KindFloat:
		f, _ := v.AsFloat()
		switch {
		case c.exact:
		case math.IsNaN(f):
			return append(b, `{"$f64":"7ff8000000000000"}`...)
		case f == math.Trunc(f) && math.Abs(f) <= 1<<53-1:
			return strconv.AppendInt(b, int64(f), 10)
		case f == math.Trunc(f) && !math.IsInf(f, 0):
			return fmt.Appendf(b, `{"$num":"%016x"}`, math.Float64bits(f))
		}
		return fmt.Appendf(b, `{"$f64":"%016x"}`, math.Float64bits(f))
	case KindBinary:
		bin, _ := v.AsBinary()
		if c.ops {
			b = append(b, '[')
			for i, x := range bin {
				if i > 0 {
					b = append(b, ',')
				}
				b = strconv.AppendInt(b, int64(x), 10)
			}
			return append(b, ']')
		}
		return append(hex.AppendEncode(append(b, `{"$bin":"`...), bin), `"}`...)
	case KindList:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = c.value(b, v.Index(i))
		}
		return append(b, ']')
	case KindMap:
		b = append(b, '{')
		first := true
		for k, e := range v.Entries() {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(appendJSONString(b, k), ':')
			b = c.value(b, e)
		}
		return append(b, '}')
	case KindContainer:
		id, _ := v.AsContainer()
		return appendJSONString(b, "🦜:"+id.String())
	}
	return v.AppendJSON(b)
}

func opJSON(op Op) string {
	var content []Entry
	add := func(k string, v Value) { content = append(content, Entry{k, v}) }
	switch op.Kind {
	case OpMapSet:
		add("type", String("insert"))
		add("key", String(op.Key))
		add("value", op.Value)
	case OpMapDelete:
		add("type", String("delete"))
		add("key", String(op.Key))
	case OpTreeCreate, OpTreeMove:
		add("type", String(map[OpKind]string{OpTreeCreate: "create", OpTreeMove: "move"}[op.Kind]))
		add("target", String(op.Node.String()))
		add("fractional_index", String(strings.ToUpper(hex.EncodeToString(op.Position))))
		add("parent", Null())
		if op.Parent != TreeRoot {
			content[len(content)-1].Value = String(op.Parent.String())
		}
	case OpTreeDelete:
		add("type", String("delete"))
		add("target", String(op.Node.String()))
	}
	var deps []Value
	for _, s := range frontiersJSON(op.Deps) {
		deps = append(deps, String(s))
	}
	msg := Null()
	if op.Message != "" {
		msg = String(op.Message)
	}
	v := MapValue(
		Entry{"id", String(op.ID.String())},
		Entry{"lamport", Int(int64(op.Lamport))},
		Entry{"deps", List(deps...)},
		Entry{"ts", Int(op.Timestamp)},
		Entry{"msg", msg},
		Entry{"container", String(op.Container.String())},
		Entry{"content", MapValue(content...)},
	)
	return string(canon{ops: true}.value(nil, v))
}

func readExpect(t testing.TB, v *vector, into any) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(readVector(t, v.Expect.File)))
	require.NoError(t, err)
	require.NoError(t, json.NewDecoder(z).Decode(into))
}

func indent(b []byte) string {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return string(b)
	}
	out, _ := json.MarshalIndent(v, "", " ")
	return string(out)
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func vvJSON(v VersionVector) map[string]int32 {
	out := make(map[string]int32)
	for p, end := range v {
		if end > 0 {
			out[p.String()] = end
		}
	}
	return out
}

func frontiersJSON(f []ID) []string {
	out := make([]string, 0, len(f))
	for _, id := range f {
		out = append(out, id.String())
	}
	slices.Sort(out)
	return out
}

func pendingJSON(m map[PeerID]Span) map[string][2]int32 {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string][2]int32)
	for p, s := range m {
		out[p.String()] = [2]int32{s.Start, s.End}
	}
	return out
}
