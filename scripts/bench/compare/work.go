package compare

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const block = 128 << 10 // bytes of one read or write of a large file

// random fills p with bytes that do not compress and that no other call makes.
func random(p []byte) {
	var key [32]byte
	for i := 0; i < len(key); i += 8 {
		binary.LittleEndian.PutUint64(key[i:], rand.Uint64())
	}
	rand.NewChaCha8(key).Read(p) // never fails
}

// each calls do for 0 to n-1 by several workers, in order, until one fails or limit is
// over. It returns how many were done and how long it took.
func each(ctx context.Context, n, workers int, limit time.Duration, do func(worker, i int) error) (int, time.Duration, error) {
	var next, done atomic.Int64
	errs := make([]error, workers)
	var wg sync.WaitGroup
	start := time.Now()
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for errs[w] == nil && ctx.Err() == nil && time.Since(start) < limit {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[w] = do(w, i); errs[w] == nil {
					done.Add(1)
				}
			}
		}()
	}
	wg.Wait()
	return int(done.Load()), time.Since(start), errors.Join(append(errs, ctx.Err())...)
}

func nameOf(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("file-%05d", i)) }

// create makes files of different content.
func create(ctx context.Context, dir string, n, size, writers int, limit time.Duration) (int, time.Duration, error) {
	body := make([][]byte, writers)
	for w := range body {
		body[w] = make([]byte, size)
		random(body[w])
	}
	return each(ctx, n, writers, limit, func(w, i int) error {
		binary.LittleEndian.PutUint64(body[w], uint64(i))
		return os.WriteFile(nameOf(dir, i), body[w], 0o644)
	})
}

// read reads what create made and checks that it is the right file, whole.
func read(ctx context.Context, dir string, n, size, readers int, limit time.Duration) (int, time.Duration, error) {
	return each(ctx, n, readers, limit, func(_, i int) error {
		body, err := os.ReadFile(nameOf(dir, i))
		if err == nil && (len(body) != size || binary.LittleEndian.Uint64(body) != uint64(i)) {
			err = fmt.Errorf("%s: has %d bytes that are not what was written", nameOf(dir, i), len(body))
		}
		return err
	})
}

// writeLarge writes a file and syncs it.
func writeLarge(name string, size int64) (time.Duration, error) {
	body := make([]byte, block)
	random(body)
	start := time.Now()
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	for i := range size / block { // the number makes every block another
		binary.LittleEndian.PutUint64(body, uint64(i))
		if _, err := f.Write(body); err != nil {
			return 0, errors.Join(err, f.Close())
		}
	}
	err = errors.Join(f.Sync(), f.Close())
	return time.Since(start), err
}

// readLarge reads what writeLarge wrote and returns when the first byte was there, and all.
func readLarge(name string, size int64) (first, all time.Duration, err error) {
	body := make([]byte, block)
	start := time.Now()
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() // only read
	for i := range size / block {
		if i == 0 {
			if _, err := io.ReadFull(f, body[:4096]); err != nil {
				return 0, 0, err
			}
			first = time.Since(start)
			_, err = io.ReadFull(f, body[4096:])
		} else {
			_, err = io.ReadFull(f, body)
		}
		if err != nil {
			return 0, 0, err
		}
		if binary.LittleEndian.Uint64(body) != uint64(i) {
			return 0, 0, fmt.Errorf("%s: block %d is not what was written", name, i)
		}
	}
	return first, time.Since(start), nil
}

// readRandom reads n pieces of 4 KiB, each at the start of a block, which has its number.
func readRandom(ctx context.Context, name string, size int64, n int, limit time.Duration) (int, time.Duration, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() // only read
	body := make([]byte, 4096)
	return each(ctx, n, 1, limit, func(_, _ int) error {
		at := rand.Int64N(size / block)
		if _, err := f.ReadAt(body, at*block); err != nil {
			return err
		}
		if binary.LittleEndian.Uint64(body) != uint64(at) {
			return fmt.Errorf("%s: block %d is not what was written", name, at)
		}
		return nil
	})
}

// overwrite writes 4 KiB in the middle and syncs.
func overwrite(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	body := make([]byte, 4096)
	random(body)
	if _, err := f.WriteAt(body, size/2); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}
