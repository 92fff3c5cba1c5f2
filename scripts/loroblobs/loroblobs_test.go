package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/play"
)

func writeTo(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	require.Equal(t, 0, run(append(args, dir), &out, &errs), "%s%s", &out, &errs)
	return dir
}

// Every item is also imported by this library on the way, which must agree.
func TestSeedAlwaysGivesTheSameBytes(t *testing.T) {
	first := writeTo(t, "-seed", "5", "-n", "4")
	second := writeTo(t, "-seed", "5", "-n", "4")
	files, err := os.ReadDir(first)
	require.NoError(t, err)
	for _, f := range files {
		a, err := os.ReadFile(filepath.Join(first, f.Name()))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(second, f.Name()))
		require.NoError(t, err)
		require.True(t, bytes.Equal(a, b), f.Name())
	}
}

func TestItemsNameTheirBlobs(t *testing.T) {
	dir := writeTo(t, "-seed", "6", "-n", "8")
	text, err := os.ReadFile(filepath.Join(dir, "impl.json"))
	require.NoError(t, err)
	var impl struct{ Items []item }
	require.NoError(t, json.Unmarshal(text, &impl))
	names := make(map[string]bool)
	rejects := 0
	for _, it := range impl.Items {
		require.False(t, names[it.Name], it.Name)
		names[it.Name] = true
		require.NotEmpty(t, it.Blobs, it.Name)
		for _, file := range it.Blobs {
			require.FileExists(t, filepath.Join(dir, file))
		}
		if it.ExpectReject {
			rejects++
			continue
		}
		require.Len(t, it.StateSha, 64, it.Name)
		require.NotEmpty(t, it.VV, it.Name)
		require.NotEmpty(t, it.Frontiers, it.Name)
	}
	require.NotZero(t, rejects)
}

func TestDamagedBlobsDoNoHarm(t *testing.T) {
	dir := writeTo(t, "-mutate", "-seed", "7", "-n", "400")
	text, err := os.ReadFile(filepath.Join(dir, "mutants.json"))
	require.NoError(t, err)
	var list []mutant
	require.NoError(t, json.Unmarshal(text, &list))
	require.Len(t, list, 400)
	accepted := 0
	for _, m := range list {
		if m.Accepted {
			accepted++
		}
	}
	require.NotZero(t, accepted, "none got as far as the content")
	require.Less(t, accepted, 200, "most damage was not noticed")
}

// Otherwise damage inside of a snapshot would only ever show that the snapshot
// was put together wrongly.
func TestSnapshotTakenApartAndPutTogetherIsTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		blobs, err := soundBlobs(r)
		require.NoError(t, err)
		for _, whole := range blobs[1:3] {
			parts, ok := openSnapshot(whole[envelope:])
			require.True(t, ok)
			require.NotEmpty(t, parts[0].pairs)
			again := seal(whole, parts.pack(r))
			a, b := loro.NewDoc(1), loro.NewDoc(1)
			_, err := a.Import(whole)
			require.NoError(t, err)
			_, err = b.Import(again)
			require.NoError(t, err)
			require.NoError(t, play.Same(a, b))
			require.Equal(t, a.IsShallow(), b.IsShallow())
		}
	}
}

func TestWrongUsageIsRefused(t *testing.T) {
	for _, args := range [][]string{{}, {"-n", "x", "dir"}, {"a", "b"}} {
		var out, errs bytes.Buffer
		require.Equal(t, 2, run(args, &out, &errs), args)
		require.Contains(t, errs.String(), "usage: loroblobs")
	}
}
