package aside

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/statedir"
)

// The test binary is also the process that is killed: with childVariable set it does
// what is said there and ends after a step, as kill -9 would end it.
const childVariable = "POCKET_ASIDE_TEST_CHILD"

// killed is the exit code of a process that ended itself after a step.
const killed = 137

func TestMain(m *testing.M) {
	args := strings.Split(os.Getenv(childVariable), "|")
	if len(args) != 4 {
		os.Exit(m.Run())
	}
	if err := child(args[0], args[1], Options{DataDir: args[2], Log: slog.New(slog.DiscardHandler)}, args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(what, last string, o Options, path string) error {
	steps, err := strconv.Atoi(last)
	if err != nil {
		return err
	}
	kill := func() {
		stepped = func(string) {
			if steps--; steps == 0 {
				os.Exit(killed)
			}
		}
	}
	switch what {
	case "move":
		kill()
		_, err = Move(o, "keys", path, path)
	case "return":
		d, moved := Move(o, "keys", path, path)
		if moved != nil {
			return moved
		}
		kill()
		_, err = d.Return()
	case "restore":
		r, found := Find(o, path)
		if r == nil {
			return found // nothing was begun
		}
		kill()
		_, err = Restore(o, *r)
	}
	return err
}

// machine is a directory with files in it and a data directory.
type machine struct {
	t     *testing.T
	o     Options
	path  string
	inode uint64
}

func newMachine(t *testing.T) *machine {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	m := &machine{
		t: t, path: filepath.Join(root, "home", "keys"),
		o: Options{DataDir: filepath.Join(root, "data"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))},
	}
	m.write("id", "secret")
	m.write(filepath.Join("sub", "deep"), "more")
	m.inode, err = inodeOf(m.path)
	require.NoError(t, err)
	return m
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	file := filepath.Join(m.path, name)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(m.t, os.WriteFile(file, []byte(text), 0o600))
}

// run runs a process that ends itself after a number of steps, or does all, and reports
// whether it ended itself.
func (m *machine) run(what string, steps int) bool {
	m.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d|%s|%s", childVariable, what, steps, m.o.DataDir, m.path))
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != killed {
		require.NoError(m.t, err, "%s", said)
	}
	return cmd.ProcessState.ExitCode() == killed
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	all := []string{}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// isBack checks that the original is at its path, whole, and that nothing else is left but
// the extra names.
func (m *machine) isBack(extra ...string) {
	m.t.Helper()
	inode, err := inodeOf(m.path)
	require.NoError(m.t, err)
	require.Equal(m.t, m.inode, inode, "the directory itself is back")
	for name, text := range map[string]string{"id": "secret", filepath.Join("sub", "deep"): "more"} {
		body, err := os.ReadFile(filepath.Join(m.path, name))
		require.NoError(m.t, err)
		require.Equal(m.t, text, string(body))
	}
	require.Equal(m.t, []string{"id", "sub"}, names(m.t, m.path))
	require.Equal(m.t, append([]string{"keys"}, extra...), names(m.t, filepath.Dir(m.path)))
	hidden, err := isHidden(m.path)
	require.NoError(m.t, err)
	require.False(m.t, hidden)
	if _, err := os.Lstat(m.o.dir()); err == nil {
		require.Empty(m.t, names(m.t, m.o.dir()), "no record and no lock is left")
	}
}

// restore does what the next start does.
func (m *machine) restore() (notes []string) {
	m.t.Helper()
	r, err := Find(m.o, m.path)
	require.NoError(m.t, err)
	if r == nil {
		// A lock without a record is a file that says nothing.
		if _, err := os.Lstat(m.o.dir()); err == nil {
			os.Remove(m.o.file(m.path, lockSuffix))
		}
		return nil
	}
	notes, err = Restore(m.o, *r)
	require.NoError(m.t, err)
	return notes
}

func TestMoveAndReturn(t *testing.T) {
	m := newMachine(t)
	d, err := Move(m.o, "keys", m.path, m.path)
	require.NoError(t, err)
	require.Equal(t, m.path+Suffix, d.Aside())
	require.NoFileExists(t, m.path)
	require.FileExists(t, filepath.Join(d.Aside(), "sub", "deep"))
	hidden, err := isHidden(d.Aside())
	require.NoError(t, err)
	require.Equal(t, mountsVanish, hidden, "hidden on Windows")

	r, err := Find(m.o, m.path)
	require.NoError(t, err)
	require.Equal(t, Aside, r.State)
	require.Equal(t, m.inode, r.Inode)
	_, err = Restore(m.o, *r)
	require.ErrorIs(t, err, statedir.ErrLocked, "while a process has it")
	require.ErrorContains(t, err, m.path)

	require.NoError(t, os.Mkdir(m.path, 0o700), "a mount point")
	notes, err := d.Return()
	require.NoError(t, err)
	require.Empty(t, notes)
	m.isBack()
}

// A process that is killed after any step, and another one that is killed after any
// step of bringing everything back, leave what the next one brings back.
func TestKillAfterEveryStep(t *testing.T) {
	type crash struct {
		what  string
		steps []step
	}
	between := []struct {
		name string
		do   func(m *machine)
		made bool
	}{
		{"nothing happens", func(*machine) {}, false},
		{"an empty mount point is left", func(m *machine) {
			if _, err := os.Lstat(m.path); err != nil {
				require.NoError(m.t, os.Mkdir(m.path, 0o755))
			}
		}, false},
		{"somebody makes the directory anew", func(m *machine) {
			if _, err := os.Lstat(m.path); err != nil {
				m.write("known_hosts", "new")
			}
		}, true},
	}
	for _, first := range []crash{{"move", moveSteps}, {"return", returnSteps}} {
		for i, s := range first.steps {
			for _, b := range between {
				t.Run(fmt.Sprintf("%s, %s, %s", first.what, s.name, b.name), func(t *testing.T) {
					t.Parallel()
					// Each time the second process gets one step further.
					for j := 1; ; j++ {
						m := newMachine(t)
						require.True(t, m.run(first.what, i+1))
						_, err := os.Lstat(m.path)
						away := err != nil
						b.do(m)
						again := m.run("restore", j)
						m.restore()
						if b.made && away {
							extra := names(t, filepath.Dir(m.path))[1:]
							require.Len(t, extra, 1)
							require.Contains(t, extra[0], "keys"+conflictSuffix)
							body, err := os.ReadFile(filepath.Join(filepath.Dir(m.path), extra[0], "known_hosts"))
							require.NoError(t, err)
							require.Equal(t, "new", string(body))
							m.isBack(extra...)
						} else {
							m.isBack()
						}
						if !again {
							require.LessOrEqual(t, j, len(returnSteps)+1)
							break
						}
					}
				})
			}
		}
	}
}

func TestWhatWasMadeMeanwhileIsKept(t *testing.T) {
	for name, make := range map[string]func(m *machine){
		"a directory": func(m *machine) { m.write("known_hosts", "new") },
		"a file":      func(m *machine) { require.NoError(m.t, os.WriteFile(m.path, []byte("new"), 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			d, err := Move(m.o, "keys", m.path, m.path)
			require.NoError(t, err)
			make(m)
			notes, err := d.Return()
			require.NoError(t, err)
			require.Len(t, notes, 1)
			extra := names(t, filepath.Dir(m.path))[1:]
			require.Len(t, extra, 1)
			require.Contains(t, notes[0], extra[0])
			m.isBack(extra...)
		})
	}
}

// Whatever is at the other name is not touched.
func TestForeignAsideIsNotTouched(t *testing.T) {
	m := newMachine(t)
	foreign := filepath.Join(m.path+Suffix, "theirs")
	require.NoError(t, os.MkdirAll(foreign, 0o700))
	_, err := Move(m.o, "keys", m.path, m.path)
	require.ErrorContains(t, err, m.path+Suffix)
	require.ErrorContains(t, err, "is there already")
	require.DirExists(t, foreign)
	m.isBack("keys" + Suffix)
	err = Adopt(m.o, m.path)
	require.ErrorContains(t, err, "both there")
	m.isBack("keys" + Suffix)

	// Also when it came after a process was killed that had not moved yet.
	require.NoError(t, os.RemoveAll(m.path+Suffix))
	require.True(t, m.run("move", 1))
	require.NoError(t, os.MkdirAll(foreign, 0o700))
	notes := m.restore()
	require.Len(t, notes, 1)
	require.Contains(t, notes[0], "not of pocket's making")
	m.isBack("keys" + Suffix)
}

func TestRecordIsLost(t *testing.T) {
	m := newMachine(t)
	require.True(t, m.run("move", len(moveSteps)))
	require.NoError(t, os.RemoveAll(m.o.DataDir))
	r, err := Find(m.o, m.path)
	require.NoError(t, err)
	require.Nil(t, r)
	require.NoError(t, os.Mkdir(m.path, 0o700))
	require.NoError(t, Adopt(m.o, m.path))
	m.isBack()
}

func TestOriginalIsGone(t *testing.T) {
	m := newMachine(t)
	require.True(t, m.run("move", len(moveSteps)))
	elsewhere := filepath.Join(t.TempDir(), "rescued")
	require.NoError(t, os.Rename(m.path+Suffix, elsewhere))
	r, err := Find(m.o, m.path)
	require.NoError(t, err)
	_, err = Restore(m.o, *r)
	require.ErrorIs(t, err, ErrGone)
	require.ErrorContains(t, err, m.path+Suffix)

	// The user has brought it back by hand.
	m = newMachine(t)
	require.True(t, m.run("move", len(moveSteps)))
	require.NoError(t, os.Rename(m.path+Suffix, m.path))
	require.NoError(t, setHidden(m.path, false))
	require.Empty(t, m.restore())
	m.isBack()
}

// A disk that is not plugged in is no reason to forget what is on it.
func TestParentIsAway(t *testing.T) {
	m := newMachine(t)
	require.True(t, m.run("move", len(moveSteps)))
	parent := filepath.Dir(m.path)
	require.NoError(t, os.Rename(parent, parent+"-unplugged"))
	r, err := Find(m.o, m.path)
	require.NoError(t, err)
	_, err = Restore(m.o, *r)
	require.ErrorContains(t, err, parent+" is not there now: when it is, run pocket restore")
	require.NotErrorIs(t, err, ErrGone)

	require.NoError(t, os.Rename(parent+"-unplugged", parent))
	require.Empty(t, m.restore())
	m.isBack()
}

func TestRecordIsFoundByItsPathInAnyCaseOnWindows(t *testing.T) {
	dir := t.TempDir()
	r := Record{Path: filepath.Join(dir, "real", "Keys"), Mount: filepath.Join(dir, "link", "Keys")}
	for _, path := range []string{r.Path, r.Mount, r.Path + string(filepath.Separator)} {
		require.True(t, r.At(path), path)
	}
	require.False(t, r.At(filepath.Join(dir, "real")))
	require.Equal(t, runtime.GOOS == "windows", r.At(filepath.Join(dir, "REAL", "keys")))
}

func TestDamagedRecordIsNoReasonToGuess(t *testing.T) {
	m := newMachine(t)
	require.True(t, m.run("move", len(moveSteps)))
	file := m.o.file(m.path, recordSuffix)
	for _, body := range []string{"", "{", `{"version": 1}`, `{"version": 99}`, `{"version": 1, "path": "/a", "aside": "/b"}`} {
		require.NoError(t, os.WriteFile(file, []byte(body), 0o600))
		r, err := Find(m.o, m.path)
		require.Nil(t, r)
		require.ErrorContains(t, err, file)
		require.NotContains(t, err.Error(), "\n")
	}
	require.DirExists(t, m.path+Suffix)
}

func TestDirectoriesThatCannotBeMoved(t *testing.T) {
	m := newMachine(t)
	o := m.o
	o.DataDir = filepath.Join(m.path, "data", "pocket")
	_, err := Move(o, "keys", m.path, m.path)
	require.ErrorContains(t, err, "holds pocket's own data")
	inner := Of(m.path)
	require.NoError(t, os.Mkdir(inner, 0o700))
	_, err = Move(m.o, "keys", inner, inner)
	require.ErrorContains(t, err, "choose another mount_path")
	require.NoError(t, os.Remove(inner))
	m.isBack()
}

func TestSomethingIsMountedStill(t *testing.T) {
	needMount(t)
	m := newMachine(t)
	d, err := Move(m.o, "keys", m.path, m.path)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(m.path, 0o755))
	unmount := mountSomething(t, m.path)
	_, err = d.Return()
	require.ErrorIs(t, err, ErrMounted)
	require.ErrorContains(t, err, "pocket restore")
	unmount()
	require.Empty(t, m.restore())
	m.isBack()
}
