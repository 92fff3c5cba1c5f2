package compare

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Run compares. What a program cannot do becomes a dash with a note; an error is one of
// the benchmark itself. When ctx ends, every mount and server is ended before it returns
// what was measured until then.
func Run(ctx context.Context, o Options) (r *Report, err error) {
	if o.Endpoint != "" && o.Bucket == "" {
		return nil, errors.New("--endpoint needs a --bucket, where keys below a prefix of this run's own are written")
	}
	for _, need := range []string{"fusermount", "ls"} {
		if _, err := exec.LookPath(need); err != nil {
			return nil, fmt.Errorf("%w: scripts/setup.sh installs it", err)
		}
	}
	if o.Pocket, err = filepath.Abs(o.Pocket); err != nil {
		return nil, err
	}
	columns, missing, err := choosePrograms(o.Programs)
	if err != nil {
		return nil, err
	}
	chosen, limits, err := chooseScenarios(o.Rows)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Dir, "pocket-bench-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, removeAll(dir)) }()

	r = &Report{When: time.Now().UTC().Truncate(time.Second), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Runs: o.Runs, Scale: o.Scale, Missing: missing}
	b := &bench{Options: o, dir: dir}
	// A call into a mount can hang as long as the program does: only its end wakes it.
	stop := context.AfterFunc(ctx, b.killAll)
	defer stop()
	for _, latency := range o.Latencies {
		t := &Table{LatencyMS: float64(latency) / float64(time.Millisecond), RateMbit: o.Rate * 8 / 1e6, LoadBefore: load()}
		r.Tables = append(r.Tables, t)
		for _, s := range chosen {
			for _, row := range s.rows {
				t.Rows = append(t.Rows, &Line{row: row, Name: row.name, Unit: row.unit, MoreIsBetter: row.moreIsBetter, Cells: map[string]*Cell{}})
			}
		}
		if len(chosen) > 0 {
			t.Rows = append(t.Rows, &Line{row: peakMemory, Name: peakMemory.name, Unit: peakMemory.unit, Cells: map[string]*Cell{}})
		}
		for _, p := range columns {
			t.Programs = append(t.Programs, p.name)
			if err := b.measure(ctx, t, p, chosen, latency); err != nil {
				return r, err
			}
		}
		if limits {
			if err := b.measureLimits(ctx, t, latency); err != nil {
				return r, err
			}
			t.relate()
		}
		t.LoadAfter = load()
	}
	return r, ctx.Err()
}

// hangs is how many times the limit a scenario may take before its program is killed.
const hangs = 12

// bench is a run under way.
type bench struct {
	Options
	dir   string
	count int // places made

	mu      sync.Mutex
	mounts  []*mount // guarded by mu
	stopped bool     // guarded by mu
}

// killAll ends everything that is mounted.
func (b *bench) killAll() {
	b.mu.Lock()
	b.stopped = true
	mounts := slices.Clone(b.mounts)
	b.mu.Unlock()
	for _, m := range mounts {
		m.kill()
	}
}

// measure fills a program's column.
func (b *bench) measure(ctx context.Context, t *Table, p program, chosen []scenario, latency time.Duration) error {
	samples := map[*Line][]float64{}
	total := Traffic{}
	var peak int64
	for run := range max(1, b.Runs) {
		for _, s := range chosen {
			traffic, rss, err := b.play(ctx, t, p, s, latency, run, samples)
			if err != nil {
				return err
			}
			total.add(traffic)
			peak = max(peak, rss)
		}
	}
	if peak > 0 {
		for _, line := range t.Rows {
			if line.row == peakMemory {
				line.cell(p.name).set(float64(peak)/(1<<20), "")
			}
		}
	}
	for line, v := range samples {
		line.Cells[p.name].Value = median(v)
	}
	if p.command != nil {
		if t.Traffic == nil {
			t.Traffic = map[string]Traffic{}
		}
		t.Traffic[p.name] = total
	}
	return nil
}

// play runs a scenario on a program with a service, a proxy and a place of its own.
func (b *bench) play(ctx context.Context, t *Table, p program, s scenario, latency time.Duration, run int, samples map[*Line][]float64) (traffic Traffic, rss int64, err error) {
	say := func(what string) {
		b.Say(fmt.Sprintf("%v, %s: %s", latency, p.name, strings.TrimSpace(what)))
	}
	lines := map[row]*Line{}
	for _, line := range t.Rows {
		lines[line.row] = line
	}
	fail := func(r row, err error) { lines[r].cell(p.name).fail(err) }
	failRest := func(err error) {
		for _, r := range s.rows {
			if c := lines[r].cell(p.name); !c.filled {
				c.fail(err)
			}
		}
	}
	b.count++
	m := &mount{program: p, place: place{root: filepath.Join(b.dir, fmt.Sprint(b.count)), bucket: b.Bucket, region: b.Region, access: b.AccessKey, secret: b.SecretKey, pocket: b.Pocket}}
	m.place.mount = m.in("mount")
	if err := os.MkdirAll(m.mount(), 0o755); err != nil {
		return traffic, 0, err
	}
	m.prefix = "pocket-bench-" + strings.ToLower(rand.Text()[:8]) + "/"
	if p.command != nil {
		service, err := b.service(ctx)
		if err != nil {
			return traffic, 0, err
		}
		defer func() { err = errors.Join(err, service.close()) }()
		if m.bucket == "" {
			m.bucket = "bench"
		}
		if m.proxy, err = startProxy(service.url, latency, b.Rate); err != nil {
			return traffic, 0, err
		}
		defer func() { err = errors.Join(err, m.proxy.close()) }()
		m.endpoint = m.proxy.url
		if err := b.makePrefix(ctx, service.url, m.bucket, m.prefix); err != nil {
			return traffic, 0, err
		}
		defer func() { err = errors.Join(err, b.removePrefix(ctx, service.url, m.bucket, m.prefix)) }()
	}
	b.mu.Lock()
	b.mounts = append(b.mounts, m)
	b.mu.Unlock()
	defer func() {
		m.kill()
		err = errors.Join(err, removeAll(m.root))
	}()
	if p.prepare != nil {
		if err := p.prepare(ctx, &m.place); err != nil {
			failRest(err)
			return traffic, 0, ctx.Err()
		}
	}
	syscall.Sync()
	if err := m.start(ctx); err != nil {
		failRest(err)
		return traffic, 0, ctx.Err()
	}
	work := filepath.Join(m.mount(), "bench")
	ended := make(chan error, 1)
	ss := &session{ctx: ctx, m: m, dir: work, limit: b.Limit, scale: b.Scale, say: say, fail: fail,
		set: func(r row, v float64, partial string) {
			line := lines[r]
			line.cell(p.name).set(v, partial)
			samples[line] = append(samples[line], v)
		}}
	before := ss.traffic()
	go func() {
		if err := os.Mkdir(work, 0o755); err != nil {
			ended <- err
			return
		}
		ended <- s.run(ss)
	}()
	// A program that hangs is killed, which wakes whoever waits for it.
	hung := time.AfterFunc(hangs*b.Limit, func() {
		say("takes too long: killed")
		m.kill()
	})
	playErr := <-ended
	if !hung.Stop() && playErr != nil {
		playErr = fmt.Errorf("killed after %v: %w", hangs*b.Limit, playErr)
	}
	if playErr == nil {
		playErr = m.stop()
	}
	if p.command != nil {
		traffic = m.proxy.now().since(before)
	}
	if playErr != nil {
		if said := m.lastSaid(); said != "" {
			playErr = fmt.Errorf("%w (%s)", playErr, said)
		}
		failRest(playErr)
		t.note(p.name, playErr)
	}
	return traffic, m.peak, ctx.Err()
}

func (m *mount) lastSaid() string {
	if m.said == nil {
		return ""
	}
	return m.said.last()
}

// service is where the objects are.
type service struct {
	url string
	cmd *exec.Cmd // nil: somebody else's
}

// service starts a service that knows nothing of the runs before, or names the one that was given.
func (b *bench) service(ctx context.Context) (*service, error) {
	if b.Endpoint != "" {
		return &service{url: b.Endpoint}, nil
	}
	cmd := exec.CommandContext(ctx, b.S3Server)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := cmd.StdinPipe(); err != nil { // held open: it ends with this process
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	s := &service{url: strings.TrimSpace(line), cmd: cmd}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", b.S3Server, err), s.close())
	}
	return s, nil
}

func (s *service) close() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = s.cmd.Wait() // it was killed
	return nil
}

// choosePrograms returns the columns, and the names of those that are not installed.
func choosePrograms(words []string) (chosen []program, missing []string, err error) {
	missing = []string{} // in JSON, too
	for _, p := range programs {
		if len(words) > 0 && !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(p.name, w) }) {
			continue
		}
		if p.file != "" {
			if _, err := exec.LookPath(p.file); err != nil {
				missing = append(missing, p.name)
				continue
			}
		}
		chosen = append(chosen, p)
	}
	if len(chosen) == 0 {
		return nil, nil, fmt.Errorf("no program to measure: of %q none is known and installed", words)
	}
	return chosen, missing, nil
}

// chooseScenarios returns the scenarios with a row that contains one of the words, and
// whether the limits are among them.
func chooseScenarios(words []string) (chosen []scenario, limits bool, err error) {
	if len(words) == 0 {
		return scenarios, true, nil
	}
	has := func(name string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(name, w) })
	}
	for _, s := range scenarios {
		if slices.ContainsFunc(s.rows, func(r row) bool { return has(r.name) }) {
			chosen = append(chosen, s)
		}
	}
	limits = has(limitPut.name) || has(limitGet.name)
	if len(chosen) == 0 && !limits {
		return nil, false, fmt.Errorf("no row contains one of %q", words)
	}
	return chosen, limits, nil
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
