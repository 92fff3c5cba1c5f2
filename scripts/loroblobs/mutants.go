package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/canon"
	"github.com/hamflx/pocket/scripts/loro-oracle/play"
)

const (
	// mutantLimit is how long one damaged blob of a few kilobytes may keep the
	// library busy on a machine that has other things to do.
	mutantLimit = 20 * time.Second
	// mutantMemory is what one may make it allocate, in bytes, whatever its size.
	mutantMemory = 64 << 20
)

// mutant is one entry of mutants.json.
type mutant struct {
	Name     string `json:"name"`
	Offset   int    `json:"offset"` // in mutants.bin
	Len      int    `json:"len"`
	Accepted bool   `json:"accepted"`
	StateSha string `json:"stateSha,omitempty"` // after the import into an empty document
}

// writeMutants damages blobs of small random documents, imports each and writes
// down what came of it.
func writeMutants(dir string, seed uint64, count int) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	r := rand.New(rand.NewPCG(seed, 1<<32))
	var packed bytes.Buffer
	var list []mutant
	accepted := 0
	var sound [][]byte
	var most uint64
	for i := range count {
		if i%200 == 0 {
			var err error
			if sound, err = soundBlobs(r); err != nil {
				return "", err
			}
		}
		blob, how := damage(r, sound)
		m := mutant{Name: fmt.Sprintf("%d-%d-%s", seed, i, how), Offset: packed.Len(), Len: len(blob)}
		packed.Write(blob)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := within(mutantLimit, func() error { return survive(blob, sound[0], &m) })
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > mutantMemory && err == nil {
			err = fmt.Errorf("allocated %d bytes", spent)
		} else {
			most = max(most, spent)
		}
		if err != nil {
			file := filepath.Join(dir, m.Name+".bin")
			return "", errors.Join(fmt.Errorf("%s: %w", file, err), os.WriteFile(file, blob, 0o600))
		}
		if m.Accepted {
			accepted++
		}
		list = append(list, m)
	}
	if err := os.WriteFile(filepath.Join(dir, "mutants.bin"), packed.Bytes(), 0o600); err != nil {
		return "", err
	}
	if err := writeJSON(dir, "mutants.json", list); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d damaged blobs, %d bytes: %d accepted, at most %d bytes allocated for one", count, packed.Len(), accepted, most), nil
}

// soundBlobs returns every form of one random document.
func soundBlobs(r *rand.Rand) ([][]byte, error) {
	s := play.NewSession(r, 1+r.IntN(3))
	for range 3 + r.IntN(12) {
		if err := s.Round(); err != nil {
			return nil, err
		}
	}
	if err := s.Root(); err != nil {
		return nil, err
	}
	if err := s.Round(); err != nil {
		return nil, err
	}
	if err := s.Sync(); err != nil {
		return nil, err
	}
	d := s.Docs[0]
	var blobs [][]byte
	for _, export := range []func() ([]byte, error){
		func() ([]byte, error) { return d.ExportUpdates(nil) },
		d.ExportSnapshot,
		func() ([]byte, error) { return d.ExportShallow(loro.Frontiers{s.Roots[0]}) },
		func() ([]byte, error) { return d.ExportUpdates(play.Cut(r, d.Version())) },
	} {
		blob, err := export()
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, blob)
	}
	return blobs, nil
}

// within runs f, turns its panic into an error and gives up on it after a while.
func within(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				stack := make([]byte, 4096)
				done <- fmt.Errorf("panic: %v\n%s", p, stack[:runtime.Stack(stack, false)])
			}
		}()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("not done after %v", limit)
	}
}

// survive imports a damaged blob into an empty document and into one with
// content, and checks that both can be used afterwards.
func survive(blob, sound []byte, m *mutant) error {
	if _, err := loro.Peek(blob); err != nil && !errors.Is(err, loro.ErrInvalid) {
		return fmt.Errorf("peek: %w", err)
	}
	empty := loro.NewDoc(1)
	_, err := empty.Import(blob)
	m.Accepted = err == nil
	if err != nil {
		if err := refusal(err); err != nil {
			return err
		}
		if len(empty.Version()) > 0 || len(empty.Roots()) > 0 || empty.IsShallow() {
			return errors.New("a refused import left something in an empty document")
		}
	} else {
		m.StateSha = canon.Sum(canon.State(empty))
		if err := usable(empty); err != nil {
			return err
		}
	}
	full := loro.NewDoc(2)
	if _, err := full.Import(sound); err != nil {
		return err
	}
	if err := full.Map("m").Set("own", loro.Bool(true)); err != nil {
		return err
	}
	full.Commit()
	before, version, heads := canon.State(full), full.Version(), full.Frontiers()
	if _, err = full.Import(blob); err == nil {
		return usable(full)
	}
	if err := refusal(err); err != nil {
		return err
	}
	if full.Version().Compare(version) != loro.Equal || !full.Frontiers().Equal(heads) || !bytes.Equal(before, canon.State(full)) {
		return errors.New("a refused import changed a document")
	}
	if err := full.Verify(); err != nil {
		return fmt.Errorf("after a refused import: %w", err)
	}
	return nil
}

// refusal returns err unless it is one of those that say what is wrong with a blob.
func refusal(err error) error {
	for _, known := range []error{loro.ErrInvalid, loro.ErrShallowDeps, loro.ErrLimit} {
		if errors.Is(err, known) {
			return nil
		}
	}
	return fmt.Errorf("refused for no good reason: %w", err)
}

// usable reads and edits a document that accepted a damaged blob, and exports it.
// What it exports must import again. Its state may differ from its history, as
// that of any snapshot; then a shallow snapshot, whose state is left out, may show
// another.
func usable(d *loro.Doc) error {
	diverged := d.Verify()
	if diverged != nil && !errors.Is(diverged, loro.ErrDiverged) {
		return fmt.Errorf("verify: %w", diverged)
	}
	if _, err := canon.Ops(d); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	e := &play.Editor{Doc: d, R: rand.New(rand.NewPCG(1, 1)), Nodes: &play.Nodes{}, Clock: &play.Clock{}}
	for range 5 {
		if err := e.Edit(); errors.Is(err, loro.ErrLimit) {
			break
		} else if err != nil {
			return fmt.Errorf("edit: %w", err)
		}
	}
	e.Commit()
	snapshot, err := d.ExportSnapshot()
	if errors.Is(err, loro.ErrUnsupportedContainer) || errors.Is(err, loro.ErrLimit) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	again := loro.NewDoc(3)
	if _, err := again.Import(snapshot); err != nil {
		return fmt.Errorf("own snapshot: %w", err)
	}
	if err := play.Same(d, again); err != nil && diverged == nil {
		return fmt.Errorf("own snapshot: %w", err)
	}
	return nil
}

// damage picks a blob and damages it, envelope and checksums in order again.
func damage(r *rand.Rand, sound [][]byte) (blob []byte, how string) {
	from := r.IntN(len(sound))
	whole := sound[from]
	name := [...]string{"updates", "snapshot", "shallow", "cut"}[from]
	body := bytes.Clone(whole[envelope:])
	if binary.BigEndian.Uint16(whole[envelope-2:]) == 3 && r.IntN(5) > 0 {
		parts, ok := openSnapshot(body)
		if ok {
			how = parts.damage(r)
			return seal(whole, parts.pack(r)), name + "-" + how
		}
	}
	body, how = scratch(r, body, sound[r.IntN(len(sound))][envelope:])
	return seal(whole, body), name + "-" + how
}

// scratch damages bytes: one place, or a few.
func scratch(r *rand.Rand, b, other []byte) ([]byte, string) {
	if len(b) == 0 {
		return []byte{byte(r.Uint32())}, "byte"
	}
	at := r.IntN(len(b))
	switch r.IntN(9) {
	case 0:
		b[at] ^= 1 << r.IntN(8)
		return b, "bit"
	case 1:
		b[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
		return b, "extreme"
	case 2:
		b[at] += byte(1 + 254*r.IntN(2))
		return b, "step"
	case 3:
		return b[:at], "short"
	case 4:
		end := min(len(b), at+1+r.IntN(6))
		return append(b[:at:at], b[end:]...), "cut out"
	case 5:
		end := min(len(b), at+1+r.IntN(20))
		return bytes.Join([][]byte{b[:end], b[at:]}, nil), "twice"
	case 6: // a length or number of many bytes
		long := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}
		return bytes.Join([][]byte{b[:at], long[r.IntN(9):], b[at+1:]}, nil), "huge"
	case 7:
		if len(other) == 0 {
			return b[:at], "short"
		}
		from := r.IntN(len(other))
		copy(b[at:], other[from:min(len(other), from+1+r.IntN(40))])
		return b, "foreign"
	}
	for range 2 + r.IntN(4) {
		b[r.IntN(len(b))] = byte(r.Uint32())
	}
	return b, "several"
}
