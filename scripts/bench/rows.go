package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// row is one measurement. run works in an empty directory of the target and returns
// the value in the row's unit.
type row struct {
	name         string
	unit         string
	moreIsBetter bool
	run          func(t target, dir string) (float64, error)
}

// errDoesNotApply is what a row returns that means nothing for a target.
var errDoesNotApply = errors.New("does not apply")

const (
	small     = 4 << 10
	smallMany = 1000
	statMany  = 10_000
	large     = 512 << 20
	huge      = 4 << 30
	dirMany   = 2000
	block     = 128 << 10 // bytes of one read or write of a large file
)

var rows = []row{
	{"create+write+close 1,000 x 4 KiB, 1 writer", "files/s", true, func(_ target, dir string) (float64, error) { return create(dir, 1) }},
	{"create+write+close 1,000 x 4 KiB, 16 writers", "files/s", true, func(_ target, dir string) (float64, error) { return create(dir, 16) }},
	{"create 1,000 x 4 KiB until all is in the store", "s", false, createAndStore},
	{"stat of 10,000 files after a restart", "stat/s", true, func(t target, dir string) (float64, error) { return statAll(t, dir, false) }},
	{"stat of 10,000 files again", "stat/s", true, func(t target, dir string) (float64, error) { return statAll(t, dir, true) }},
	{"ls -l of 10,000 files after a restart", "s", false, listLong},
	{"write 512 MiB, close", "MB/s", true, func(_ target, dir string) (float64, error) { return writeLarge(dir, large, false) }},
	{"write 512 MiB, fsync, close", "MB/s", true, func(_ target, dir string) (float64, error) { return writeLarge(dir, large, true) }},
	{"write 512 MiB until all is in the store", "s", false, writeAndStore},
	{"read 512 MiB after a restart", "MB/s", true, func(t target, dir string) (float64, error) { return readLarge(t, dir, large) }},
	{"rename a directory of 2,000 files", "ms", false, renameDir},
	{"remove a directory of 2,000 files", "s", false, removeDir},
	{"peak memory (RSS) of all the above", "MiB", false, peak},
}

// hugeRows are added by -huge: they need 10 GB of disk.
var hugeRows = []row{
	{"write 4 GiB, close", "MB/s", true, func(_ target, dir string) (float64, error) { return writeLarge(dir, huge, false) }},
	{"read 4 GiB after a restart", "MB/s", true, func(t target, dir string) (float64, error) { return readLarge(t, dir, huge) }},
	{"peak memory (RSS) with 4 GiB", "MiB", false, peak},
}

// peak is cumulative: the most memory since the target was opened.
func peak(t target, _ string) (float64, error) {
	rss, err := t.peakRSS()
	return float64(rss) / (1 << 20), err
}

// fill makes p bytes that do not compress and that no other call with another seed has.
func fill(p []byte, seed uint64) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(p)
}

// once tells the runs apart: content that is in the store already is not uploaded again.
var once = rand.Uint64

// makeFiles writes n files with several writers and returns how long it took.
func makeFiles(dir string, n, size, writers int) (time.Duration, error) {
	body := make([][]byte, writers)
	for w := range body {
		body[w] = make([]byte, size)
		fill(body[w], once())
	}
	errs := make([]error, writers)
	var wg sync.WaitGroup
	start := time.Now()
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < n; i += writers {
				binary.LittleEndian.PutUint64(body[w], uint64(i))
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%05d", i)), body[w], 0o644); err != nil {
					errs[w] = err
					return
				}
			}
		}()
	}
	wg.Wait()
	return time.Since(start), errors.Join(errs...)
}

func create(dir string, writers int) (float64, error) {
	took, err := makeFiles(dir, smallMany, small, writers)
	return smallMany / took.Seconds(), err
}

func createAndStore(t target, dir string) (float64, error) {
	start := time.Now()
	if _, err := makeFiles(dir, smallMany, small, 1); err != nil {
		return 0, err
	}
	return storedSince(t, start)
}

// storedSince waits until the target has stored everything: it has, when it has ended.
func storedSince(t target, start time.Time) (float64, error) {
	end, err := t.restart()
	if err == nil && end.IsZero() {
		err = errDoesNotApply
	}
	return end.Sub(start).Seconds(), err
}

func statAll(t target, dir string, warm bool) (float64, error) {
	if _, err := makeFiles(dir, statMany, 100, 4); err != nil {
		return 0, err
	}
	if _, err := t.restart(); err != nil {
		return 0, err
	}
	names := make([]string, statMany)
	for i := range names {
		names[i] = filepath.Join(dir, fmt.Sprintf("file-%05d", i))
	}
	for pass := 0; ; pass++ {
		start := time.Now()
		for _, name := range names {
			if _, err := os.Lstat(name); err != nil {
				return 0, err
			}
		}
		if took := time.Since(start); pass == 1 || !warm {
			return statMany / took.Seconds(), nil
		}
	}
}

func listLong(t target, dir string) (float64, error) {
	if _, err := makeFiles(dir, statMany, 100, 4); err != nil {
		return 0, err
	}
	if _, err := t.restart(); err != nil {
		return 0, err
	}
	start := time.Now()
	cmd := exec.Command("ls", "-l", dir)
	cmd.Stdout = io.Discard
	err := cmd.Run()
	return time.Since(start).Seconds(), err
}

// writeFile writes a large file and returns how long it took.
func writeFile(dir string, size int64, sync bool) (time.Duration, error) {
	// Chunks that are the same would be stored once: each block gets a number.
	body := make([]byte, block)
	fill(body, once())
	start := time.Now()
	f, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		return 0, err
	}
	for i := range size / block {
		binary.LittleEndian.PutUint64(body, uint64(i))
		if _, err := f.Write(body); err != nil {
			return 0, errors.Join(err, f.Close())
		}
	}
	if sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	return time.Since(start), err
}

func writeLarge(dir string, size int64, sync bool) (float64, error) {
	took, err := writeFile(dir, size, sync)
	return float64(size) / 1e6 / took.Seconds(), err
}

func writeAndStore(t target, dir string) (float64, error) {
	start := time.Now()
	if _, err := writeFile(dir, large, false); err != nil {
		return 0, err
	}
	return storedSince(t, start)
}

func readLarge(t target, dir string, size int64) (float64, error) {
	if _, err := writeFile(dir, size, false); err != nil {
		return 0, err
	}
	if _, err := t.restart(); err != nil {
		return 0, err
	}
	buf := make([]byte, block)
	start := time.Now()
	f, err := os.Open(filepath.Join(dir, "large"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var n int64
	for err == nil {
		var k int
		k, err = f.Read(buf)
		n += int64(k)
	}
	took := time.Since(start)
	if err != io.EOF || n != size {
		return 0, fmt.Errorf("read %d bytes: %w", n, err)
	}
	return float64(size) / 1e6 / took.Seconds(), nil
}

func renameDir(t target, dir string) (float64, error) {
	from := filepath.Join(dir, "from")
	if err := os.Mkdir(from, 0o755); err != nil {
		return 0, err
	}
	if _, err := makeFiles(from, dirMany, 100, 4); err != nil {
		return 0, err
	}
	start := time.Now()
	err := os.Rename(from, filepath.Join(dir, "to"))
	return float64(time.Since(start).Nanoseconds()) / 1e6, err
}

func removeDir(t target, dir string) (float64, error) {
	if _, err := makeFiles(dir, dirMany, 100, 4); err != nil {
		return 0, err
	}
	start := time.Now()
	err := os.RemoveAll(dir)
	return time.Since(start).Seconds(), err
}
