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
	"strings"
	"time"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/canon"
	"github.com/hamflx/pocket/scripts/loro-oracle/play"
)

const (
	// mutantLimit is how long one damaged blob of a few kilobytes may keep the
	// library busy on a machine that has other things to do.
	mutantLimit = 20 * time.Second
	// mutantMemory is what one may make it allocate, in bytes, whatever its size. That
	// is everything allocated in using two documents; where sound blobs of the same
	// kind need much themselves it is twice that.
	mutantMemory = 64 << 20
)

// mutant is one entry of mutants.json.
type mutant struct {
	Name     string `json:"name"`
	Offset   int    `json:"offset"` // in mutants.bin
	Len      int    `json:"len"`
	Accepted bool   `json:"accepted"`
	// StateSha is that of an empty document after the import, left out where it
	// says nothing; see peculiar.
	StateSha string `json:"stateSha,omitempty"`
	// Other: there are operations on containers this library does not look into,
	// so that it cannot tell whether they make sense.
	Other bool `json:"other,omitempty"`
}

// writeMutants damages blobs of small random documents, or of the directory from
// unless that is empty, imports each and writes down what came of it.
func writeMutants(dir, from string, seed uint64, count int) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	r := rand.New(rand.NewPCG(seed, 1<<32))
	source := func() ([][]byte, error) { return soundBlobs(r) }
	if from != "" {
		files, err := filepath.Glob(filepath.Join(from, "*.bin"))
		if err != nil || len(files) == 0 {
			return "", errors.Join(fmt.Errorf("no .bin files in %s", from), err)
		}
		source = func() ([][]byte, error) { return someFiles(r, files) }
	}
	var packed bytes.Buffer
	var list []mutant
	var sound [][]byte
	var failures []error
	accepted, most, limit := 0, uint64(0), uint64(0)
	for i := range count {
		if i%100 == 0 {
			var err error
			if sound, err = source(); err != nil {
				return "", err
			}
			limit = mutantMemory
			for _, blob := range sound {
				spent, err := survive(blob, sound[0], &mutant{})
				if err != nil {
					return "", fmt.Errorf("before anything is damaged: %w", err)
				}
				limit = max(limit, 2*spent)
			}
		}
		blob, how := damage(r, sound)
		m := mutant{Name: fmt.Sprintf("%d-%d-%s", seed, i, how), Offset: packed.Len(), Len: len(blob)}
		packed.Write(blob)
		spent, err := survive(blob, sound[0], &m)
		if spent > limit {
			err = errors.Join(err, fmt.Errorf("allocated %d bytes", spent))
		}
		if err != nil {
			file := filepath.Join(dir, strings.ReplaceAll(m.Name, " ", "-"))
			failures = append(failures, fmt.Errorf("%s.bin, or after %[1]s.sound: %w", file, err),
				os.WriteFile(file+".bin", blob, 0o600), os.WriteFile(file+".sound", sound[0], 0o600))
		}
		if m.Accepted {
			accepted++
		}
		most = max(most, spent)
		list = append(list, m)
	}
	failures = append(failures,
		os.WriteFile(filepath.Join(dir, "mutants.bin"), packed.Bytes(), 0o600),
		writeJSON(dir, "mutants.json", list))
	summary := fmt.Sprintf("%d damaged blobs, %d bytes: %d accepted, at most %d bytes allocated for one", count, packed.Len(), accepted, most)
	return summary, errors.Join(failures...)
}

// someFiles returns the content of a few files this library can import.
func someFiles(r *rand.Rand, files []string) ([][]byte, error) {
	var blobs [][]byte
	for len(blobs) < 5 {
		blob, err := os.ReadFile(files[r.IntN(len(files))])
		if err != nil {
			return nil, err
		}
		if len(blob) > 1<<17 {
			continue // would only take long
		}
		if _, err := loro.NewDoc(1).Import(blob); err == nil {
			blobs = append(blobs, blob)
		}
	}
	return blobs, nil
}

// soundBlobs returns every form of one random document.
func soundBlobs(r *rand.Rand) ([][]byte, error) {
	s := play.NewSession(r, 1+r.IntN(3))
	s.Raise = r.IntN(2) == 0
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

// survive imports a damaged blob into an empty document and into one with
// content, and checks that both can be used afterwards. It returns how much was
// allocated.
func survive(blob, sound []byte, m *mutant) (allocated uint64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = errors.Join(
		within(mutantLimit, func() error { return intoEmpty(blob, m) }),
		within(mutantLimit, func() error { return intoFull(blob, sound) }))
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
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

func intoEmpty(blob []byte, m *mutant) error {
	if _, err := loro.Peek(blob); err != nil && !errors.Is(err, loro.ErrInvalid) {
		return fmt.Errorf("peek: %w", err)
	}
	d := loro.NewDoc(1)
	if _, err := d.Import(blob); err != nil {
		if len(d.Version()) > 0 || len(d.Roots()) > 0 || d.IsShallow() {
			return errors.New("a refused import left something in an empty document")
		}
		return refusal(err)
	}
	m.Accepted = true
	odd, other, err := peculiar(d)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if m.Other = other; !odd && !other {
		m.StateSha = canon.Sum(canon.State(d))
	}
	return usable(d)
}

func intoFull(blob, sound []byte) error {
	d := loro.NewDoc(2)
	if _, err := d.Import(sound); err != nil {
		return err
	}
	if err := d.Map("m").Set("own", loro.Bool(true)); err != nil {
		return err
	}
	d.Commit()
	before, version, heads := canon.State(d), d.Version(), d.Frontiers()
	_, err := d.Import(blob)
	if err == nil {
		return usable(d)
	}
	if err := refusal(err); err != nil {
		return err
	}
	if d.Version().Compare(version) != loro.Equal || !d.Frontiers().Equal(heads) || !bytes.Equal(before, canon.State(d)) {
		return errors.New("a refused import changed a document")
	}
	if err := d.Verify(); err != nil {
		return fmt.Errorf("after a refused import: %w", err)
	}
	return nil
}

// peculiar reports whether the official library may well show a document
// differently: one with a move that has no effect, or with nodes that were never
// created, for there its shortcut for what is not concurrent differs from its own
// replay; one with mergeable containers, which it shows in the place of their
// markers; one with a map and a tree of one name. other is mutant.Other.
func peculiar(d *loro.Doc) (odd, other bool, err error) {
	moves := make(map[loro.ContainerID][]play.TreeMove)
	for op, err := range d.Ops() {
		if err != nil {
			return false, false, err
		}
		other = other || op.Kind == loro.OpOther
		if m, ok := play.MoveOf(op); ok {
			moves[op.Container] = append(moves[op.Container], m)
		}
	}
	for _, tree := range moves {
		_, n := play.Replay(tree)
		odd = odd || n > 0
	}
	names := make(map[string]bool)
	for _, root := range d.Roots() {
		odd = odd || names[root.Name] || strings.HasPrefix(root.Name, "🤝:")
		names[root.Name] = true
	}
	return odd, other, nil
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
		// A map may share its id with a node that is not there.
		if err := e.Edit(); err != nil && !errors.Is(err, loro.ErrLimit) && !errors.Is(err, loro.ErrNotAttached) {
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
	whole := sound[r.IntN(len(sound))]
	name := "updates"
	body := bytes.Clone(whole[envelope:])
	if binary.BigEndian.Uint16(whole[envelope-2:]) == 3 {
		name = "snapshot"
		if parts, ok := openSnapshot(body); ok && r.IntN(5) > 0 {
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
