package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// scenario runs in an empty directory of a mount and sets the values of its rows.
type scenario struct {
	rows []row
	run  func(s *session) error
}

const (
	small     = 4 << 10
	tiny      = 100
	writers   = 16
	quietData = 1500 * time.Millisecond // without a change, after as many bytes as were written: all is there
	quietName = 3 * time.Second         // the same where no bytes tell; longer than what peers wait before they begin
	largeSize = 512 << 20
)

// The rows, by the scenario that sets them.
var (
	create1       = row{"create 1,000 x 4 KiB, by 1", "files/s", true}
	create1Bucket = row{"  until in the bucket", "s", false}
	create16      = row{"create 1,000 x 4 KiB, by 16", "files/s", true}
	create16Buck  = row{"  until in the bucket (16)", "s", false}
	read1         = row{"read them cold, by 1", "files/s", true}
	read16        = row{"read them cold, by 16", "files/s", true}

	createMany  = row{"create 10,000 x 100 B, by 16", "files/s", true}
	createManyB = row{"  until in the bucket (10k)", "s", false}
	readdirCold = row{"readdir of 10,000, first", "ms", false}
	readdirWarm = row{"readdir of 10,000, again", "ms", false}
	listLong    = row{"ls -l of 10,000, first", "s", false}
	statFirst   = row{"stat of 10,000, first", "stat/s", true}
	statAgain   = row{"stat of 10,000, again", "stat/s", true}

	write       = row{"write 512 MiB, fsync, close", "MB/s", true}
	writeBucket = row{"  until in the bucket (512)", "s", false}
	readFirst   = row{"read 512 MiB cold: first byte", "ms", false}
	readCold    = row{"read 512 MiB cold", "MB/s", true}
	readWarm    = row{"read 512 MiB again", "MB/s", true}
	randomRate  = row{"1,000 random 4-KiB reads cold", "reads/s", true}
	randomDown  = row{"  fetched for them", "MB", false}
	overwriteUp = row{"overwrite 4 KiB: uploaded", "KiB", false}
	overwriteIn = row{"  until in the bucket (4 KiB)", "s", false}

	renameDir    = row{"rename a directory of 2,000", "ms", false}
	renameBucket = row{"  until the bucket says so (mv)", "s", false}
	removeDir    = row{"remove it (rm -r)", "s", false}
	removeBucket = row{"  until the bucket says so (rm)", "s", false}

	peakMemory = row{"peak memory (RSS)", "MiB", false} // set at the end
)

var scenarios = []scenario{
	{[]row{create1, create1Bucket, create16, create16Buck, read1, read16}, smallFiles},
	{[]row{createMany, createManyB, readdirCold, readdirWarm, listLong, statFirst, statAgain}, manyFiles},
	{[]row{write, writeBucket, readFirst, readCold, readWarm, randomRate, randomDown, overwriteUp, overwriteIn}, largeFile},
	{[]row{renameDir, renameBucket, removeDir, removeBucket}, directory},
}

// session is a run of a scenario.
type session struct {
	ctx   context.Context
	m     *mount
	dir   string
	limit time.Duration
	scale float64
	set   func(r row, value float64, partial string)
	fail  func(r row, err error)
	say   func(string)
}

func (s *session) n(full int) int { return max(1, int(float64(full)*s.scale)) }
func (s *session) traffic() Traffic {
	if s.m.proxy == nil {
		return Traffic{}
	}
	return s.m.proxy.now()
}

// mkdir makes a directory of the scenario.
func (s *session) mkdir(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	return dir, os.Mkdir(dir, 0o755)
}

// rate sets a row of so many a second; one that was cut short says how far it came.
func (s *session) rate(r row, done, n int, took time.Duration) {
	partial := ""
	if done < n {
		partial = fmt.Sprintf("%d of %d in %.0f s", done, n, took.Seconds())
	}
	s.set(r, float64(done)/took.Seconds(), partial)
}

// bucket waits until the bucket has what was written since and sets how long it took.
func (s *session) bucket(r row, before Traffic, start time.Time, bytes int64, quiet time.Duration, partial bool) {
	if s.m.proxy == nil {
		return
	}
	s.say(r.name)
	end, err := s.m.proxy.settled(s.ctx, before, start, bytes, quiet, 4*s.limit)
	switch {
	case err != nil:
		s.fail(r, err)
	case partial:
		s.fail(r, fmt.Errorf("not all were made in %v", s.limit))
	case end.IsZero(): // nothing had to be said to the bucket
		s.set(r, 0, "")
	default:
		s.set(r, end.Sub(start).Seconds(), "")
	}
}

func smallFiles(s *session) error {
	n := s.n(1000)
	made := 0
	for _, by := range []struct {
		r, b    row
		writers int
	}{{create1, create1Bucket, 1}, {create16, create16Buck, writers}} {
		dir, err := s.mkdir(fmt.Sprint("by ", by.writers))
		if err != nil {
			return err
		}
		s.say(by.r.name)
		before, start := s.traffic(), time.Now()
		done, took, err := create(s.ctx, dir, n, small, by.writers, s.limit)
		if err != nil {
			return err
		}
		made = done
		s.rate(by.r, done, n, took)
		s.bucket(by.b, before, start, int64(done)*small, quietData, done < n)
	}
	dir := filepath.Join(s.dir, fmt.Sprint("by ", writers))
	for _, by := range []struct {
		r       row
		readers int
	}{{read1, 1}, {read16, writers}} {
		s.say(by.r.name)
		if err := s.m.cold(s.ctx); err != nil {
			return err
		}
		done, took, err := read(s.ctx, dir, made, small, by.readers, s.limit)
		if err != nil {
			return err
		}
		s.rate(by.r, done, made, took)
	}
	return nil
}

func manyFiles(s *session) error {
	n := s.n(10_000)
	dir, err := s.mkdir("many")
	if err != nil {
		return err
	}
	s.say(createMany.name)
	before, start := s.traffic(), time.Now()
	made, took, err := create(s.ctx, dir, n, tiny, writers, s.limit)
	if err != nil {
		return err
	}
	s.rate(createMany, made, n, took)
	s.bucket(createManyB, before, start, int64(made)*tiny, quietData, made < n)
	part := ""
	if made < n {
		part = fmt.Sprintf("of %d files, not of %d", made, n)
	}

	s.say(readdirCold.name)
	if err := s.m.cold(s.ctx); err != nil {
		return err
	}
	var again []float64
	for i := range 4 {
		start := time.Now()
		names, err := readNames(dir)
		if err == nil && len(names) != made {
			err = fmt.Errorf("%s: has %d names instead of %d", dir, len(names), made)
		}
		if err != nil {
			return err
		}
		if ms := time.Since(start).Seconds() * 1e3; i == 0 {
			s.set(readdirCold, ms, part)
		} else {
			again = append(again, ms)
		}
	}
	s.set(readdirWarm, median(again), part)

	s.say(listLong.name)
	if err := s.m.cold(s.ctx); err != nil {
		return err
	}
	switch took, err := s.list(dir); {
	case errors.Is(err, errTooLong):
		s.fail(listLong, err)
	case err != nil:
		return err
	default:
		s.set(listLong, took.Seconds(), part)
	}

	s.say(statFirst.name)
	if err := s.m.cold(s.ctx); err != nil {
		return err
	}
	again = nil
	for i := range 4 {
		done, took, err := each(s.ctx, made, 1, s.limit, func(_, i int) error { _, err := os.Lstat(nameOf(dir, i)); return err })
		if err != nil {
			return err
		}
		if rate := float64(done) / took.Seconds(); i == 0 {
			s.set(statFirst, rate, part)
		} else {
			again = append(again, rate)
		}
	}
	s.set(statAgain, median(again), part)
	return nil
}

// errTooLong is a step that was cut short and has no value of its own then.
var errTooLong = errors.New("cut short: it took too long")

// list runs ls -l, for twice the limit at most.
func (s *session) list(dir string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 2*s.limit)
	defer cancel()
	ls := exec.CommandContext(ctx, "ls", "-l", dir)
	ls.Stdout = io.Discard
	start := time.Now()
	err := ls.Run()
	if ctx.Err() != nil && s.ctx.Err() == nil {
		return 0, fmt.Errorf("%w: %v", errTooLong, 2*s.limit)
	}
	if err != nil {
		return 0, fmt.Errorf("ls -l: %w", err)
	}
	return time.Since(start), nil
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	return f.Readdirnames(-1)
}

func largeFile(s *session) error {
	size := int64(s.n(largeSize/(4<<20))) * (4 << 20)
	name := filepath.Join(s.dir, "large")
	s.say(write.name)
	before, start := s.traffic(), time.Now()
	took, err := writeLarge(name, size)
	if err != nil {
		return err
	}
	s.set(write, float64(size)/1e6/took.Seconds(), "")
	s.bucket(writeBucket, before, start, size, quietData, false)

	s.say(readCold.name)
	if err := s.m.cold(s.ctx); err != nil {
		return err
	}
	first, took, err := readLarge(name, size)
	if err != nil {
		return err
	}
	if s.m.proxy != nil {
		s.set(readFirst, first.Seconds()*1e3, "")
		s.set(readCold, float64(size)/1e6/took.Seconds(), "")
	}
	var again []float64
	for range 3 {
		_, took, err := readLarge(name, size)
		if err != nil {
			return err
		}
		again = append(again, float64(size)/1e6/took.Seconds())
	}
	s.set(readWarm, median(again), "")
	if s.m.proxy == nil {
		return nil // the rest is about the network
	}

	s.say(randomRate.name)
	if err := s.m.cold(s.ctx); err != nil {
		return err
	}
	n := s.n(1000)
	before = s.traffic()
	done, took, err := readRandom(s.ctx, name, size, n, s.limit)
	if err != nil {
		return err
	}
	s.rate(randomRate, done, n, took)
	s.set(randomDown, float64(s.traffic().Down-before.Down)/1e6, "")

	s.say(overwriteUp.name)
	before, start = s.traffic(), time.Now()
	if err := overwrite(name, size); err != nil {
		return err
	}
	s.bucket(overwriteIn, before, start, 4096, quietName, false)
	s.set(overwriteUp, float64(s.traffic().Up-before.Up)/1024, "")
	return nil
}

func directory(s *session) error {
	from, err := s.mkdir("from")
	if err != nil {
		return err
	}
	n := s.n(2000)
	s.say("create 2,000 files")
	before, start := s.traffic(), time.Now()
	made, _, err := create(s.ctx, from, n, tiny, writers, s.limit)
	if err != nil {
		return err
	}
	if s.m.proxy != nil {
		if _, err := s.m.proxy.settled(s.ctx, before, start, int64(made)*tiny, quietName, 4*s.limit); err != nil {
			return err
		}
	}
	part := ""
	if made < n {
		part = fmt.Sprintf("of %d files, not of %d", made, n)
	}
	to := filepath.Join(s.dir, "to")
	s.say(renameDir.name)
	before, start = s.traffic(), time.Now()
	if err := os.Rename(from, to); err != nil {
		return err
	}
	s.set(renameDir, time.Since(start).Seconds()*1e3, part)
	s.bucket(renameBucket, before, start, 0, quietName, made < n)
	s.say(removeDir.name)
	before, start = s.traffic(), time.Now()
	names, err := readNames(to)
	if err != nil {
		return err
	}
	removed, _, err := each(s.ctx, len(names), 1, 2*s.limit, func(_, i int) error { return os.Remove(filepath.Join(to, names[i])) })
	if err != nil {
		return err
	}
	if removed < len(names) {
		s.fail(removeDir, fmt.Errorf("%w: %d of %d files in %v", errTooLong, removed, len(names), 2*s.limit))
		s.fail(removeBucket, errTooLong)
		return nil
	}
	if err := os.Remove(to); err != nil {
		return err
	}
	s.set(removeDir, time.Since(start).Seconds(), part)
	s.bucket(removeBucket, before, start, 0, quietName, made < n)
	return nil
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
