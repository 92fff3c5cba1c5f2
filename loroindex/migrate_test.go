package loroindex

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/stretchr/testify/require"
)

// firstDocument reads a document of the first Pocket, as the official library wrote it,
// and what that library says it holds.
func firstDocument(t testing.TB, name string) (blob []byte, entries map[string]map[string]any) {
	t.Helper()
	blob, err := os.ReadFile("testdata/first/" + name + ".loro")
	require.NoError(t, err)
	text, err := os.ReadFile("testdata/first/" + name + ".json")
	require.NoError(t, err)
	var all map[string]any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	require.NoError(t, d.Decode(&all))
	entries = make(map[string]map[string]any)
	for key, v := range all {
		if m, ok := v.(map[string]any); ok {
			entries[key] = m
		}
	}
	return blob, entries
}

// firstBucket is a bucket as the first Pocket left it.
func firstBucket(blob []byte) (*memBucket, objectid.ID) {
	b := newBucket()
	id := objectid.Of(blob)
	b.put(ObjectKey(id), blob)
	b.put(HeadKey, []byte(id.String()))
	return b, id
}

func TestAnIndexOfTheFirstPocketOpensWithEverythingInIt(t *testing.T) {
	for _, name := range []string{"home", "merged"} {
		t.Run(name, func(t *testing.T) {
			blob, entries := firstDocument(t, name)
			require.Greater(t, len(entries), 4)
			b, _ := firstBucket(blob)
			b.noWrites(t)
			l := load(t, b, nil, "anna")
			require.True(t, l.Migrated)
			require.False(t, l.Fresh)
			x := l.Index
			checkView(t, x)
			require.Len(t, tree(t, x), len(entries)-1, "all but the root")
			for key, f := range entries {
				e, err := x.Resolve(strings.ReplaceAll(key, `\`, "/"))
				require.NoError(t, err, key)
				number := func(field string) int64 {
					n, err := strconv.ParseInt(f[field].(json.Number).String(), 10, 64)
					require.NoError(t, err)
					return n
				}
				micros := func(field string) int64 { return (number(field) - 116444736000000000) / 10 }
				require.Equal(t, f["is_dir"].(bool), e.Kind == Dir)
				require.Equal(t, number("size"), e.Size)
				require.Equal(t, uint32(number("attributes")), e.Attributes)
				require.Equal(t, micros("creation_time"), e.Created, key)
				if e.Kind == Dir { // its entries came later
					require.GreaterOrEqual(t, e.Changed, micros("change_time"))
					require.GreaterOrEqual(t, e.ModTime, micros("last_write_time"))
				} else {
					require.Equal(t, max(micros("change_time"), micros("last_write_time")), e.Changed)
					require.Equal(t, micros("last_write_time"), e.ModTime)
				}
				object, _ := f["object_id"].(string)
				if object == "" {
					require.True(t, e.Object.IsZero())
				} else {
					require.Equal(t, object, e.Object.String())
				}
				require.False(t, e.Manifest)
			}
		})
	}
}

func TestReadOnlyFilesOfTheFirstPocketCannotBeWritten(t *testing.T) {
	blob, _ := firstDocument(t, "home")
	x := testIndex(t, "anna", blob)
	require.Equal(t, uint32(0o444), stat(t, x, ".ssh/id_ed25519").Mode)
	require.Equal(t, uint32(0o644), stat(t, x, ".ssh/config").Mode)
	require.Equal(t, uint32(0o755), stat(t, x, ".ssh").Mode)
}

func TestOddEntriesOfTheFirstPocketAreShown(t *testing.T) {
	blob, entries := firstDocument(t, "odd")
	x := testIndex(t, "anna", blob)
	checkView(t, x)
	got := paths(t, x)
	for i, p := range got {
		if at := strings.Index(p, " (name not usable "); at >= 0 {
			got[i] = p[:min(at, 40)] + "..." + p[strings.LastIndexByte(p, ')')+1:]
		}
	}
	slices.Sort(got)
	require.Equal(t, []string{
		"a_b...",
		"before 1970",
		"d/",
		"f",
		"f (conflict first Pocket)/",
		"f (conflict first Pocket)/below it",
		"inline/",
		"lost/", "lost/deep/", "lost/deep/er/", "lost/deep/er/file", "lost/note",
		"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...",
		"no backslash",
		"odd",
		"short id",
		"unnamed.../", // the directory ".." cannot be shown as such
		"unnamed.../up",
	}, got)
	e := stat(t, x, "lost/deep/er/file")
	require.Equal(t, entries[`\lost\deep\er\file`]["object_id"], e.Object.String())
	require.Equal(t, e.Created, stat(t, x, "lost/deep").Created, "as old as the first thing found in it")
	e = stat(t, x, "before 1970")
	require.Equal(t, int64(-2), e.Created) // 116444735999999980 of 100 ns since 1601
	require.Equal(t, int64(-10_000_000), e.ModTime)
	e = stat(t, x, "short id")
	require.True(t, e.Object.IsZero())
	require.Equal(t, int64(5), e.Size)
	e = stat(t, x, "odd")
	require.Zero(t, e.Size)
}

func TestMachinesThatMigrateAtOnceAgree(t *testing.T) {
	for _, name := range []string{"home", "merged", "odd"} {
		blob, _ := firstDocument(t, name)
		b, head := firstBucket(blob)
		xs := []*Index{load(t, b, nil, "anna").Index, load(t, b, nil, "berta").Index}
		require.Equal(t, xs[0].migrated, xs[1].migrated)
		one, err := xs[0].migration()
		require.NoError(t, err)
		two, err := xs[1].migration()
		require.NoError(t, err)
		require.Equal(t, one, two, "byte for byte")

		publish(t, xs[0], b, "from anna")
		publish(t, xs[1], b, "from berta")
		publishSnapshot(t, xs[0], b)
		for i, x := range xs {
			_, err := x.Pull(t.Context(), b, nil)
			require.NoError(t, err)
			require.Equal(t, tree(t, xs[0]), tree(t, xs[i]))
		}
		third := load(t, b, nil, "carl")
		require.False(t, third.Migrated)
		require.Equal(t, tree(t, xs[0]), tree(t, third.Index))
		require.Equal(t, len(tree(t, testIndex(t, "dora", blob)))+2, len(tree(t, xs[0])), "nothing twice")
		require.Contains(t, b.keys(""), ObjectKey(head), "the old object stays")
		entries, ok := third.Index.doc.Map(firstMap).Get(`\`)
		if name != "odd" {
			require.True(t, ok, entries)
		}
	}
}

func TestAMigrationNobodyPublishedIsMadeAgain(t *testing.T) {
	blob, _ := firstDocument(t, "home")
	b, _ := firstBucket(blob)
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "new")
	delete(b.objects, UpdateKey(x.migrated)) // as if a writer of another make left it out
	y := load(t, b, nil, "berta")
	require.True(t, y.Migrated)
	require.Equal(t, tree(t, x), tree(t, y.Index))
}

func TestAnOldPocketThatWritesAfterTheMigrationHidesNothing(t *testing.T) {
	blob, _ := firstDocument(t, "home")
	b, _ := firstBucket(blob)
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "new")
	publishSnapshot(t, x, b)
	for _, k := range b.keys(UpdatePrefix) {
		delete(b.objects, k)
	}
	// It knows nothing but its own document, and points the head there.
	old := loro.NewDoc(4001)
	_, err := old.Import(blob)
	require.NoError(t, err)
	require.NoError(t, old.Map(firstMap).Delete(`\desktop.ini`))
	old.Commit()
	body, err := old.ExportSnapshot()
	require.NoError(t, err)
	id := objectid.Of(body)
	b.put(ObjectKey(id), body)
	b.put(HeadKey, []byte(id.String()))

	y := load(t, b, nil, "berta")
	require.False(t, y.Migrated)
	require.Equal(t, tree(t, x), tree(t, y.Index))
	publishSnapshot(t, y.Index, b)
	require.Equal(t, tree(t, x), tree(t, load(t, b, nil, "carl").Index))
}

func TestCopiesOfAnIndexOfTheFirstPocketOpenAlone(t *testing.T) {
	blob, _ := firstDocument(t, "home")
	b, _ := firstBucket(blob)
	local := memLocal{}
	x := load(t, b, local, "anna").Index
	alone := load(t, nil, local, "anna")
	require.True(t, alone.Migrated)
	require.Equal(t, tree(t, x), tree(t, alone.Index))
}
