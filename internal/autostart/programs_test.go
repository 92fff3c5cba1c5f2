package autostart

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The test binary is also a program that runs until its input ends.
const asSleeper = "POCKET_AUTOSTART_TEST_SLEEPER"

func TestMain(m *testing.M) {
	if os.Getenv(asSleeper) != "" {
		fmt.Println("runs")
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runProgram starts a program that is a copy of the test binary, and returns its process
// and what ends it.
func runProgram(t *testing.T, program string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), asSleeper+"=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	ended := false
	end = func() {
		if !ended {
			ended = true
			in.Close()
			cmd.Wait()
		}
	}
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	body, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	require.NoError(t, os.WriteFile(to, body, 0o755))
}

// release is a directory with programs of one version.
func release(t *testing.T, version string, programs ...string) (self string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range programs {
		body := append(portable(subsystemConsole), name+" "+version...)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+exeSuffix), body, 0o755))
	}
	return filepath.Join(dir, programs[0]+exeSuffix)
}

// programs is what installed returns of programs with their versions.
func programs(of ...string) map[string]string {
	all := make(map[string]string)
	for _, text := range of {
		name, _, _ := strings.Cut(text, " ")
		all[name+exeSuffix] = text
		if name+exeSuffix == pocketName && starterName != pocketName {
			all[starterName] = text + " (GUI)"
		}
	}
	return all
}

// installed returns what is in the site's directory: of programs that release has made what they are.
func installed(t *testing.T, s *Site) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(s.Dir)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	found := make(map[string]string)
	for _, e := range entries {
		body, err := os.ReadFile(filepath.Join(s.Dir, e.Name()))
		require.NoError(t, err)
		text := string(body)
		if _, subsystem, err := findSubsystem(bytes.NewReader(body)); err == nil {
			text = text[len(portable(subsystemConsole)):]
			if subsystem == subsystemGUI {
				text += " (GUI)"
			}
		}
		found[e.Name()] = text
	}
	return found
}

func TestProgramsAreReplacedWholeOrNotAtAll(t *testing.T) {
	s := &Site{Dir: filepath.Join(t.TempDir(), "not", "there")}
	self := release(t, "1", "pocket", "pocket-creds")
	planned := s.Plan(self)
	require.NoDirExists(t, s.Dir, "planned is not done")
	c, err := s.Stage(self)
	require.NoError(t, err)
	require.Equal(t, planned, c.Paths())
	require.NoFileExists(t, s.Program(), "staged is not installed")
	paths := slices.Compact([]string{s.Program(), s.Starter(), filepath.Join(s.Dir, "pocket-creds"+exeSuffix)})
	require.Equal(t, paths, c.Paths())
	require.NoError(t, c.Swap())
	c.Done()
	first := programs("pocket 1", "pocket-creds 1")
	require.Equal(t, first, installed(t, s))

	for _, swap := range []bool{false, true} {
		c, err = s.Stage(release(t, "2", "pocket", "pocket-creds", "pocket-index"))
		require.NoError(t, err)
		if swap {
			require.NoError(t, c.Swap())
			require.Equal(t, "pocket 2", installed(t, s)["pocket"+exeSuffix])
		}
		require.NoError(t, c.Undo())
		require.Equal(t, first, installed(t, s), "taken back")
	}

	c, err = s.Stage(release(t, "3", "pocket", "pocket-index"))
	require.NoError(t, err)
	require.NoError(t, c.Swap())
	c.Done()
	third := programs("pocket 3", "pocket-creds 1", "pocket-index 3")
	require.Equal(t, third, installed(t, s))
	require.NoError(t, c.Undo(), "what is done stays")
	require.Equal(t, third, installed(t, s))

	removed, err := s.RemovePrograms()
	require.NoError(t, err)
	require.Len(t, removed, len(third))
	require.Empty(t, installed(t, s))
	removed, err = s.RemovePrograms()
	require.NoError(t, err)
	require.Empty(t, removed)
}

func TestFirstInstallationIsTakenBackWhole(t *testing.T) {
	s := &Site{Dir: t.TempDir()}
	c, err := s.Stage(release(t, "1", "pocket", "pocket-creds"))
	require.NoError(t, err)
	require.NoError(t, c.Swap())
	require.NoError(t, c.Undo())
	require.Empty(t, installed(t, s))
}

func TestFailedStageLeavesNothing(t *testing.T) {
	s := &Site{Dir: t.TempDir()}
	self := release(t, "1", "pocket")
	require.NoError(t, os.Mkdir(filepath.Join(filepath.Dir(self), "pocket-creds"+exeSuffix), 0o755)) // cannot be copied
	_, err := s.Stage(self)
	require.ErrorContains(t, err, "pocket-creds")
	require.Empty(t, installed(t, s))
}

// What an installation that was killed had copied is removed by the next one.
func TestKilledInstallationIsSweptByTheNext(t *testing.T) {
	s := &Site{Dir: t.TempDir()}
	_, err := s.Stage(release(t, "1", "pocket", "pocket-creds")) // and no more
	require.NoError(t, err)
	require.Len(t, installed(t, s), len(programs("pocket 1", "pocket-creds 1")))
	others := map[string]string{".new-12345678" + exeSuffix: "other", "pocket.new-notes": "other", "pocket.old-config.toml": "other"}
	for name, body := range others {
		require.NoError(t, os.WriteFile(filepath.Join(s.Dir, name), []byte(body), 0o600))
	}
	c, err := s.Stage(release(t, "2", "pocket"))
	require.NoError(t, err)
	require.NoError(t, c.Swap())
	c.Done()
	maps.Copy(others, programs("pocket 2"))
	require.Equal(t, others, installed(t, s))
}

func TestInstalledProgramInstallsItselfByStaying(t *testing.T) {
	s := &Site{Dir: t.TempDir()}
	copyFile(t, release(t, "1", "pocket"), s.Program())
	c, err := s.Stage(s.Program())
	require.NoError(t, err)
	require.NotContains(t, c.Paths(), s.Program())
	require.NoError(t, c.Swap())
	require.Equal(t, programs("pocket 1"), installed(t, s), "with what starts it")
	require.NoError(t, c.Undo())
	require.Equal(t, map[string]string{pocketName: "pocket 1"}, installed(t, s))

	c, err = s.Stage(s.Program())
	require.NoError(t, err)
	require.NoError(t, c.Swap())
	c.Done()
	for _, self := range []string{s.Starter(), s.Program()} {
		c, err = s.Stage(self)
		require.NoError(t, err)
		require.NotContains(t, c.Paths(), self)
		require.NoError(t, c.Swap())
		c.Done()
		require.Equal(t, programs("pocket 1"), installed(t, s))
	}
}

// On Windows a program that runs can be renamed only.
func TestRunningProgramIsReplacedTakenBackAndRemoved(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	was, err := os.Stat(self)
	require.NoError(t, err)
	for _, name := range slices.Compact([]string{pocketName, starterName}) {
		s := &Site{Dir: t.TempDir()}
		path := filepath.Join(s.Dir, name)
		copyFile(t, self, path)
		require.Empty(t, s.Running())
		pid, end := runProgram(t, path)
		require.Equal(t, []int{pid}, s.Running())

		c, err := s.Stage(release(t, "2", "pocket"))
		require.NoError(t, err)
		require.NoError(t, c.Swap())
		require.Equal(t, programs("pocket 2")[name], installed(t, s)[name])
		require.NoError(t, c.Undo())
		there, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, was.Size(), there.Size())
		require.Equal(t, []int{pid}, s.Running())

		c, err = s.Stage(release(t, "3", "pocket"))
		require.NoError(t, err)
		require.NoError(t, c.Swap())
		c.Done()
		end()
		c, err = s.Stage(release(t, "4", "pocket"))
		require.NoError(t, err)
		require.NoError(t, c.Swap())
		c.Done()
		require.Equal(t, programs("pocket 4"), installed(t, s), "what could not be removed then is now")

		require.NoError(t, os.Remove(path))
		copyFile(t, self, path)
		runProgram(t, path)
		removed, err := s.RemovePrograms()
		require.NoError(t, err)
		require.Len(t, removed, len(programs("pocket 4")))
		require.Empty(t, installed(t, s))
		for _, r := range removed {
			if r.Aside != "" {
				require.Equal(t, path, r.Path)
				require.FileExists(t, r.Aside)
				t.Cleanup(func() { os.Remove(r.Aside) })
			}
		}
	}
}
