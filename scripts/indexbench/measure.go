package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
)

// perDir is how many files a directory has, and how many directories one above.
const perDir = 100

// changes is how many of each change are timed.
const changes = 2000

// figures are what is measured of one index. Times are seconds, those of single
// changes microseconds: the median of many.
type figures struct {
	Files          int     `json:"files"`
	SnapshotBytes  int64   `json:"snapshot_bytes"`
	Open           float64 `json:"open_s"`
	OpenCPU        float64 `json:"open_cpu_s"`
	OpenPeak       int64   `json:"open_peak_bytes"`
	OpenRSS        int64   `json:"open_rss_bytes"`
	Walk           float64 `json:"walk_s"`
	WalkRSS        int64   `json:"walk_rss_bytes"`
	Stat           float64 `json:"stat_us"`
	Create         float64 `json:"create_us"`
	Rename         float64 `json:"rename_us"`
	Delete         float64 `json:"delete_us"`
	Publish        float64 `json:"publish_us"`
	PublishBytes   int64   `json:"publish_bytes"`
	PublishObjects int     `json:"publish_objects"`
}

// writeSnapshot makes the snapshot of an index of n files.
func writeSnapshot(path string, n int) error {
	x, err := loroindex.New(loroindex.Options{Device: "bench"})
	if err != nil {
		return err
	}
	top := loroindex.Root
	folder := loroindex.Info{Kind: loroindex.Dir, Mode: 0o755, UID: 1000, GID: 1000, Created: 1_700_000_000_000_000}
	file := folder
	file.Kind, file.Mode = loroindex.File, 0o644
	for d := range (n + perDir - 1) / perDir {
		err := x.Update(func(tx *loroindex.Tx) (err error) {
			if d%perDir == 0 {
				if top, err = tx.Create(loroindex.Root, fmt.Sprint("top ", d), folder, loroindex.Content{}); err != nil {
					return err
				}
			}
			dir, err := tx.Create(top, fmt.Sprint("directory ", d), folder, loroindex.Content{})
			for f := 0; f < min(perDir, n-d*perDir) && err == nil; f++ {
				name := fmt.Sprintf("file-%d-%d.txt", d, f)
				_, err = tx.Create(dir, name, file, loroindex.Content{
					Size: int64(len(name)), ModTime: file.Created + int64(f), Object: objectid.Of([]byte(name)),
				})
			}
			return err
		}, nil)
		if err != nil {
			return err
		}
	}
	body, _, err := x.ExportSnapshot()
	if err != nil {
		return err
	}
	return os.WriteFile(path, body, 0o600)
}

// measure opens the index of a bucket that has one snapshot and nothing else, as a new
// machine does, and works on it.
func measure(path string) (*figures, error) {
	ctx := context.Background()
	b, err := newBucket(path)
	if err != nil {
		return nil, err
	}
	// Where a mount keeps the history of a large index, see fsimpl.
	history, err := os.CreateTemp("", "indexbench-history-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(history.Name())
	defer history.Close()
	options := loroindex.Options{Device: "bench", History: func(section []byte) (io.ReaderAt, error) {
		_, err := history.Write(section)
		return history, err
	}}
	f := &figures{SnapshotBytes: b.size}
	// As much room as the limit of pocket leaves above what is in use.
	debug.SetGCPercent(15)
	debug.FreeOSMemory()

	cpu, err := processCPU()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	loaded, err := loroindex.Load(ctx, b, nil, options)
	if err != nil {
		return nil, err
	}
	x := loaded.Index
	top, err := x.ReadDir(loroindex.Root, nil)
	if err != nil {
		return nil, err
	}
	f.Open = time.Since(began).Seconds()
	after, err := processCPU()
	if err != nil {
		return nil, err
	}
	f.OpenCPU = after - cpu
	if f.OpenPeak, err = status("VmHWM"); err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // what opening left behind
	if f.OpenRSS, err = status("VmRSS"); err != nil {
		return nil, err
	}

	began = time.Now()
	files, dirs, err := walk(x, top)
	if err != nil {
		return nil, err
	}
	f.Walk, f.Files = time.Since(began).Seconds(), len(files)
	if f.WalkRSS, err = status("VmRSS"); err != nil {
		return nil, err
	}
	return f, f.change(ctx, x, b, files, dirs)
}

// walk lists everything and looks at each entry, as "find" with a condition does.
func walk(x *loroindex.Index, entries []loroindex.DirEntry) (files, dirs []loroindex.Node, err error) {
	for len(entries) > 0 {
		e := entries[len(entries)-1]
		entries = entries[:len(entries)-1]
		if _, err := x.Stat(e.Node); err != nil {
			return nil, nil, err
		}
		if e.Kind != loroindex.Dir {
			files = append(files, e.Node)
			continue
		}
		dirs = append(dirs, e.Node)
		if entries, err = x.ReadDir(e.Node, entries); err != nil {
			return nil, nil, err
		}
	}
	return files, dirs, nil
}

// change times single changes of random files.
func (f *figures) change(ctx context.Context, x *loroindex.Index, b *bucket, files, dirs []loroindex.Node) (err error) {
	rng := rand.New(rand.NewPCG(1, 2))
	rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	n := min(changes, len(files)/2)
	anyDir := func() loroindex.Node { return dirs[rng.IntN(len(dirs))] }
	var end int32 // of the operations so far
	update := func(fn func(tx *loroindex.Tx) error) error {
		return x.Update(fn, func(op loroindex.Op) { end = op.End })
	}
	create := func(i int) error {
		return update(func(tx *loroindex.Tx) error {
			_, err := tx.Create(anyDir(), fmt.Sprintf("new file %d", i), loroindex.Info{Mode: 0o644, UID: 1000, GID: 1000}, loroindex.Content{})
			return err
		})
	}
	for _, t := range []struct {
		into *float64
		do   func(i int) error
	}{
		{&f.Stat, func(i int) error { _, err := x.Stat(files[i]); return err }},
		{&f.Create, create},
		{&f.Rename, func(i int) error {
			return update(func(tx *loroindex.Tx) error {
				_, err := tx.Rename(files[i], anyDir(), fmt.Sprintf("renamed %d", i), true)
				return err
			})
		}},
		{&f.Delete, func(i int) error {
			return update(func(tx *loroindex.Tx) error { return tx.Remove(files[n+i-1]) })
		}},
	} {
		if *t.into, err = median(n, t.do); err != nil {
			return err
		}
	}
	published := int32(0)
	publish := func() error {
		_, err := x.Publish(ctx, b, loroindex.Span{Peer: x.Peer(), Start: published, End: end})
		published = end
		return err
	}
	if err := publish(); err != nil { // all of the above
		return err
	}
	var times []float64
	for i := range 100 {
		if err := create(n + i); err != nil {
			return err
		}
		b.puts, b.bytes = 0, 0
		began := time.Now()
		if err := publish(); err != nil {
			return err
		}
		times = append(times, time.Since(began).Seconds()*1e6)
		f.PublishBytes, f.PublishObjects = max(f.PublishBytes, b.bytes), max(f.PublishObjects, b.puts)
	}
	slices.Sort(times)
	f.Publish = times[len(times)/2]
	return nil
}

// median is the time of one of n calls in microseconds.
func median(n int, do func(i int) error) (float64, error) {
	times := make([]float64, n)
	for i := range times {
		began := time.Now()
		if err := do(i); err != nil {
			return 0, err
		}
		times[i] = time.Since(began).Seconds() * 1e6
	}
	slices.Sort(times)
	return times[n/2], nil
}

// bucket is a bucket with one snapshot, which lies in a file. What is written is counted.
type bucket struct {
	path, key, head string
	size            int64
	puts            int
	bytes           int64
}

var errAbsent = errors.New("no such object")

func newBucket(path string) (*bucket, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	id := objectid.Of(body)
	return &bucket{path: path, key: loroindex.ObjectKey(id), head: id.String(), size: int64(len(body))}, nil
}

func (b *bucket) Get(_ context.Context, key string, _ int64) ([]byte, error) {
	switch key {
	case b.key:
		return os.ReadFile(b.path)
	case loroindex.HeadKey:
		return []byte(b.head), nil
	}
	return nil, errAbsent
}

func (b *bucket) Put(_ context.Context, key string, body []byte) error {
	b.puts++
	b.bytes += int64(len(key) + len(body))
	return nil
}

func (b *bucket) List(_ context.Context, prefix, _ string) iter.Seq2[loroindex.Object, error] {
	return func(yield func(loroindex.Object, error) bool) {
		if prefix == loroindex.ObjectPrefix {
			yield(loroindex.Object{Key: b.key, Size: b.size}, nil)
		}
	}
}

func (b *bucket) NotExist(err error) bool { return errors.Is(err, errAbsent) }

// processCPU is the time that all processors spent on this process, in seconds, to a
// hundredth.
func processCPU() (float64, error) {
	body, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(body[bytes.LastIndexByte(body, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/self/stat: too short")
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return float64(user+system) / 100, err
}
