//go:build linux || windows

package e2e

import (
	"bytes"
	"debug/pe"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// installing is a machine on which pocket is installed.
type installing struct {
	*machine
	pocket string // what is installed: a program as it lies somewhere
	stdin  string // what commands get
	out    string // what the last command said on stdout
}

// autostart is held by who changes what starts with the login, which Windows has one of for all tests.
var autostart sync.Mutex

// newInstalling is a machine where pocket can be installed, to start by itself on Windows and not on Linux. It
// is not installed for the one who runs the tests, who may have one that is.
func newInstalling(t *testing.T) *installing {
	t.Helper()
	m := newMachine(t)
	i := &installing{machine: m, pocket: program}
	t.Cleanup(func() { killBelow(m.root) })
	if !onWindows {
		i.needNoSystemd()
		return i
	}
	autostart.Lock()
	t.Cleanup(autostart.Unlock)
	if has := i.runValue(); has != "" && !strings.Contains(has, "pocket-e2e-") {
		t.Skip("pocket is installed here: the test would change what starts it: ", has)
	}
	i.forget() // what a run that was killed has left
	t.Cleanup(i.forget)
	must(t, copyLibraries(filepath.Dir(program), i.data("bin")))
	return i
}

// program is where pocket is installed.
func (i *installing) program() string {
	if onWindows {
		return i.data("bin", "pocket.exe")
	}
	return i.home(".local", "bin", "pocket")
}

// starter is what starts it with the login.
func (i *installing) starter() string {
	if onWindows {
		return i.data("bin", "pocketw.exe")
	}
	return i.program()
}

// run runs a pocket, or another program, and expects a code. It returns what the command said on
// stderr. What it says is mounted is there.
func (i *installing) run(code int, program string, args ...string) string {
	i.t.Helper()
	cmd := programCommand(program, args...)
	cmd.Env, cmd.Dir = i.env, i.home()
	// Files: under Wine what install starts has its pipes, and one would wait for its end.
	out, errs := i.output("stdout"), i.output("stderr")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(i.stdin), out, errs
	err := cmd.Run()
	i.out = readFile(i.t, out.Name())
	said := readFile(i.t, errs.Name())
	if got := cmd.ProcessState.ExitCode(); got != code {
		i.t.Fatalf("%s %s: code %d, not %d: %v\n%s%s\nlog:\n%s", filepath.Base(program), strings.Join(args, " "), got, code, err, i.out, said, tail(i.log(), 20))
	}
	for _, found := range mountedLine.FindAllStringSubmatch(i.out, -1) {
		_, err := mounted(found[1])
		must(i.t, err)
	}
	return said
}

// output makes a file that a command writes to, until the end of the test.
func (i *installing) output(name string) *os.File {
	i.t.Helper()
	f, err := os.Create(i.path(name))
	must(i.t, err)
	i.t.Cleanup(func() { f.Close() })
	return f
}

var (
	startedLine = regexp.MustCompile(`(?m)^started    pid (\d+)$`)
	mountedLine = regexp.MustCompile(`(?m)^mounted    .* at (.+)$`)
)

// pid returns the process that the last install has started.
func (i *installing) pid() int {
	i.t.Helper()
	found := startedLine.FindStringSubmatch(i.out)
	if found == nil {
		i.t.Fatalf("nothing was started:\n%s", i.out)
	}
	pid, err := strconv.Atoi(found[1])
	must(i.t, err)
	return pid
}

func (i *installing) says(lines ...string) {
	i.t.Helper()
	for _, line := range lines {
		if !slices.Contains(strings.Split(i.out, "\n"), line) {
			i.t.Fatalf("no line %q in\n%s", line, i.out)
		}
	}
}

// runs reports whether a process runs by its number, which is one of Wine's there.
func (i *installing) runs(pid int) bool {
	if !underWine {
		return alive(pid)
	}
	return slices.ContainsFunc(i.status(), func(s control.Status) bool { return s.PID == pid })
}

// waitGone waits for the end of a process.
func (i *installing) waitGone(pid int) {
	i.t.Helper()
	for deadline := time.Now().Add(patience); i.runs(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			i.t.Fatalf("process %d has not ended", pid)
		}
	}
}

// newer returns another version of pocket: the same program with something behind its end.
func (i *installing) newer(version string) string {
	i.t.Helper()
	body, err := os.ReadFile(program)
	must(i.t, err)
	dir, err := os.MkdirTemp(i.root, "newer")
	must(i.t, err)
	must(i.t, copyLibraries(filepath.Dir(program), dir))
	path := filepath.Join(dir, "pocket"+exeSuffix)
	must(i.t, writeProgram(path, append(body, version...)))
	return path
}

func sameContent(t *testing.T, one, other string) {
	t.Helper()
	if readFile(t, one) != readFile(t, other) {
		t.Fatalf("%s and %s differ", one, other)
	}
}

// registryCommand asks for the value by which Windows starts pocket, or changes it.
func (i *installing) registryCommand(command string, args ...string) (string, error) {
	cmd := programCommand("reg", append([]string{command, `HKCU\Software\Microsoft\Windows\CurrentVersion\Run`, "/v", "Pocket"}, args...)...)
	cmd.Env = i.env
	said, err := cmd.Output()
	return string(said), err
}

// forget removes the value, if there is one.
func (i *installing) forget() { i.registryCommand("delete", "/f") }

// runValue returns what the registry has to start pocket with, or nothing.
func (i *installing) runValue() string {
	i.t.Helper()
	said, err := i.registryCommand("query")
	if err != nil {
		return "" // reg says so of a value and of a key that are not there
	}
	_, value, ok := strings.Cut(said, "REG_SZ")
	if !ok {
		i.t.Fatalf("reg says %q", said)
	}
	return strings.TrimSpace(value)
}

const autostartOfWindows = `HKCU\Software\Microsoft\Windows\CurrentVersion\Run  Pocket`

// startsByItself checks what install has said and done about the next login.
func (i *installing) startsByItself(said string) {
	i.t.Helper()
	if !onWindows {
		if !strings.Contains(said, "pocket: it does not start by itself: ") || !strings.Contains(said, ": let what starts programs here run "+i.starter()) {
			i.t.Errorf("said %q", said)
		}
		return
	}
	i.says("autostart  " + autostartOfWindows)
	if value := i.runValue(); value != `"`+native(i.starter())+`" --retry` {
		i.t.Errorf("the registry starts %s", value)
	}
}

// programsLeft checks that nothing but these files is where programs are installed, and on Windows that nothing starts
// with the login if that is none.
func (i *installing) programsLeft(want ...string) {
	i.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(i.program()))
	if err != nil && !os.IsNotExist(err) {
		i.t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".dll" { // the stand-in for WinFsp
			left = append(left, e.Name())
		}
	}
	if !slices.Equal(left, want) {
		i.t.Errorf("where programs are installed there are %q, not %q", left, want)
	}
	if len(want) == 0 && onWindows && i.runValue() != "" {
		i.t.Errorf("the registry still starts %s", i.runValue())
	}
}

// It runs, is upgraded, and goes.
func TestInstallUpgradeUninstall(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstalling(t)
	i.configure(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	installed := "installed  " + native(i.program())

	said := i.run(0, i.pocket, "install")
	i.says(installed, "installed  "+native(i.starter()), "mounted    files at "+native(i.home("files")))
	i.startsByItself(said)
	first := i.pid()
	checkDetached(t, first)
	writeFile(t, i.home("files", "file"), "written before the upgrade")

	// Twice is fine, and starts it anew.
	i.run(0, i.pocket, "install")
	i.says("stopped    pid "+strconv.Itoa(first), installed)
	second := i.pid()
	i.waitGone(first)
	if got := readFile(t, i.home("files", "file")); got != "written before the upgrade" {
		t.Errorf("the file is %q", got)
	}

	// A newer version, from the old one's own directory of programs no less.
	upgrade := i.newer("2")
	i.run(0, upgrade, "install")
	i.says("stopped    pid " + strconv.Itoa(second))
	third := i.pid()
	sameContent(t, i.program(), upgrade)
	i.run(0, i.program(), "install")
	i.says("stopped    pid "+strconv.Itoa(third), installed)
	fourth := i.pid()
	i.programsLeft(slices.Compact([]string{filepath.Base(i.program()), filepath.Base(i.starter())})...)

	i.run(0, i.program(), "uninstall", "--dry-run")
	i.says("would be stopped     pid "+strconv.Itoa(fourth), "would be removed     "+native(i.program()), "would be removed     "+native(i.starter()))
	if got := readFile(t, i.home("files", "file")); got != "written before the upgrade" {
		t.Errorf("the file is %q", got)
	}
	i.run(0, i.pocket, "uninstall")
	i.says("stopped    pid "+strconv.Itoa(fourth), "removed    "+native(i.program()), "removed    "+native(i.starter()),
		"kept       "+native(filepath.Dir(i.configFile())), "kept       "+native(i.data()))
	i.waitGone(fourth)
	i.programsLeft()
	if left := mountsBelow(i.home()); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
	if said := i.run(0, i.pocket, "uninstall"); said != "pocket: nothing is installed\n" || i.out != "" {
		t.Errorf("said %q, %q", i.out, said)
	}
}

// A program can remove itself: Windows lets nobody delete one that runs, but move it.
func TestUninstallByTheInstalledProgram(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstalling(t)
	i.configure(mountTable("files", "memory"))
	i.run(0, i.pocket, "install")
	i.run(0, i.program(), "uninstall")
	if line := "removed    " + native(i.program()); !strings.Contains(i.out, line+"\n") && !strings.Contains(i.out, line+" (it is running: moved to ") {
		t.Errorf("uninstall says\n%s", i.out)
	}
	i.programsLeft()
}

// unpacked is a directory with what is handed out: the three programs.
func (i *installing) unpacked() (dir string) {
	i.t.Helper()
	dir = i.path("unpacked")
	must(i.t, os.Mkdir(dir, 0o755))
	must(i.t, copyLibraries(filepath.Dir(program), dir))
	must(i.t, copyProgram(program, filepath.Join(dir, "pocket"+exeSuffix)))
	for _, name := range []string{"pocket-creds", "pocket-index"} {
		built, err := builtProgram(name)
		must(i.t, err)
		must(i.t, copyProgram(built, filepath.Join(dir, name+exeSuffix)))
	}
	return dir
}

// The three programs as a user has them: from the access key to what is in the bucket.
func TestFromTheAccessKeyToTheBucket(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	i := newInstalling(t)
	i.env = append(i.env, "POCKET_KEYRING=off") // Linux: not the keyring of who runs the tests
	dir := i.unpacked()
	path := func(name string) string { return filepath.Join(dir, name+exeSuffix) }
	pocket, creds, index := path("pocket"), path("pocket-creds"), path("pocket-index")

	// An access key, kept as the first Pocket kept it.
	key := b.AccessKeyID + "\n" + b.SecretAccessKey
	i.stdin = key + "\n"
	i.run(0, creds, "set", "work")
	i.stdin = ""
	checkKept(i, filepath.Join(filepath.Dir(i.configFile()), "credentials", "work.bin"), key)
	i.run(0, creds, "list")
	if fields := strings.Fields(i.out); len(fields) != 4 || fields[0] != "work" || fields[3] != "file" {
		t.Errorf("list says %q", i.out)
	}

	// A storage with that key, then with another profile.
	i.run(0, pocket, "config-s3", "--bucket", b.Bucket, "--endpoint", b.Endpoint, "--region", "us-east-1", "--credentials", "work",
		"--mount", "~/files", "--name", "files", "--prefix", "here/")
	i.run(0, creds, "test", "work", "--storage", "default")
	i.run(0, pocket, "config-s3", "--bucket", b.Bucket, "--access-key-id", b.AccessKeyID, "--secret-access-key", b.SecretAccessKey)
	i.run(0, creds, "test", "default", "--storage", "default")
	if !strings.HasSuffix(i.out, ": bucket "+b.Bucket+" answers\n") {
		t.Errorf("test says %q", i.out)
	}
	if text := readFile(t, i.configFile()); strings.Contains(text, b.SecretAccessKey) || strings.Contains(text, b.AccessKeyID) {
		t.Errorf("the key is in\n%s", text)
	}

	// It is copied, started and mounted.
	i.run(0, pocket, "install")
	installed := filepath.Dir(i.program())
	for _, name := range []string{"pocket", "pocket-creds", "pocket-index"} {
		i.says("installed  " + native(filepath.Join(installed, name+exeSuffix)))
	}
	i.says("mounted    files at " + native(i.home("files")))
	pid := i.pid()
	i.run(0, pocket, "status")
	if !strings.HasPrefix(i.out, "files  mounted at "+native(i.home("files"))+"\n") {
		t.Errorf("status says\n%s", i.out)
	}
	if s := i.status(); len(s) != 1 || s[0].PID != pid || s[0].Config != native(i.configFile()) || s[0].Mounts[0].State != control.Mounted {
		t.Errorf("status --json: %+v", s)
	}
	writeFile(t, i.home("files", "file"), "before the wait")
	i.run(0, pocket, "wait")
	if got, _ := b.Object(dataKey("here/", "before the wait")); got == nil {
		t.Error("what was waited for is not in the bucket")
	}
	writeFile(t, i.home("files", "file"), "before the end")

	// Nothing of it is left but what the user has, and that is all in the bucket.
	i.run(0, pocket, "uninstall")
	i.says("stopped    pid " + strconv.Itoa(pid))
	i.programsLeft()
	if got, _ := b.Object(dataKey("here/", "before the end")); got == nil {
		t.Error("what was written last is not in the bucket")
	}
	i.run(0, index, "verify", "--read-data")
	i.run(0, index, "dump", "--json")
	var entries []string
	for line := range bytes.Lines([]byte(i.out)) {
		var e struct {
			Path string
			Size int
		}
		must(t, json.Unmarshal(line, &e))
		entries = append(entries, e.Path+" "+strconv.Itoa(e.Size))
	}
	if !slices.Equal(entries, []string{"file 14"}) {
		t.Errorf("the index has %q", entries)
	}
}

// A pocket in a terminal with the same configuration makes room; one with another does not.
func TestInstallTakesTheMountsOver(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstalling(t)
	other := i.path("other.toml")
	writeFile(t, other, mountTable("other", "memory"))
	stays := i.start("--config", native(other))
	stays.waitMounted("other")
	p := i.up(mountTable("files", "memory"))
	var pid int
	for _, s := range i.status() {
		if s.Mounts[0].Name == "files" {
			pid = s.PID
		}
	}
	i.run(0, i.pocket, "install")
	i.says("stopped    pid " + strconv.Itoa(pid))
	p.waitSaid("told to stop by pocket stop")
	if code := p.wait(); code != exitOK {
		t.Errorf("code %d", code)
	}
	i.run(0, i.pocket, "uninstall")
	if stays.hasEnded() {
		t.Error("a pocket with another configuration was stopped")
	}
	stays.stop()
}

// What the store did not take yet is left in the journal, and said.
func TestUninstallWithoutTheStore(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstalling(t)
	folder := newFolder(t)
	i.configure(dirStorage("store", folder), mountTable("files", "store"))
	i.run(0, i.pocket, "install")
	must(t, os.Rename(folder, folder+".away"))
	writeFile(t, i.home("files", "file"), "not uploaded")
	said := i.run(4, i.pocket, "uninstall", "--timeout", "1s")
	if !strings.Contains(said, "changes are left in the journal on this machine: the next start uploads them") {
		t.Errorf("said %q", said)
	}
	i.programsLeft()
	must(t, os.Rename(folder+".away", folder))
	p := i.restart()
	if got := readFile(t, i.home("files", "file")); got != "not uploaded" {
		t.Errorf("the file is %q", got)
	}
	p.stop()
	if got := readFile(t, filepath.Join(folder, dataKey("", "not uploaded"))); got != "not uploaded" {
		t.Errorf("the folder has %q", got)
	}
}

// What cannot work is not installed.
func TestInstallRefusesAConfigurationWithMistakes(t *testing.T) {
	t.Parallel()
	i := newInstalling(t)
	said := i.run(2, i.pocket, "install")
	if !strings.Contains(said, "no configuration file") || !strings.HasSuffix(said, "pocket: nothing was installed\n") {
		t.Errorf("said %q", said)
	}
	i.configure(`[[mounts]]`, `mount_path = "~/x"`, `storage = "nowhere"`)
	said = i.run(2, i.pocket, "install")
	if !strings.Contains(said, ":3: mounts.storage: ") || !strings.HasSuffix(said, "pocket: nothing was installed\n") {
		t.Errorf("said %q", said)
	}
	i.programsLeft()
}

// A new one that does not run gives way to the old one.
func TestInstallThatFailsPutsBackWhatWasThere(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstalling(t)
	i.configure(mountTable("files", "memory"))
	i.run(0, i.pocket, "install")
	before := i.pid()
	if onWindows {
		must(t, os.Remove(i.starter())) // an earlier version has none
	}
	bad := i.path("bad.toml")
	writeFile(t, i.home("file"), "in the way")
	writeFile(t, bad, mountTable("file", "memory"))
	said := i.run(1, i.newer("2"), "install", "--config", native(bad))
	for _, part := range []string{": file: " + native(i.home("file")) + " is a file: ", "nothing was installed: what was there before is as it was", "started again: pid "} {
		if !strings.Contains(said, part) {
			t.Errorf("no %q in\n%s", part, said)
		}
	}
	sameContent(t, i.program(), program)
	i.programsLeft(filepath.Base(i.program()))
	i.waitGone(before)
	i.waitAnswers()
	i.run(0, i.pocket, "uninstall")
}

// What is in the way may be a Pocket that cannot be asked to stop: the first one had no way to ask it.
func TestInstallTellsOfWhatCannotBeAsked(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstalling(t)
	i.configure(mountTable("files", "memory"))
	i.run(0, i.pocket, "install", "--no-start")
	silent := i.begin(i.program(), "status", "--watch") // it runs what is installed, and mounts nothing
	if _, ok := silent.stdout.wait(patience, func(line string) bool { return line == "nothing is mounted" }); !ok {
		silent.hangs("it does not watch")
	}
	bad := i.path("bad.toml")
	writeFile(t, i.home("file"), "in the way")
	writeFile(t, bad, mountTable("file", "memory"))
	said := i.run(1, i.newer("2"), "install", "--config", native(bad))
	if want := " runs " + native(i.program()) + " and cannot be asked to stop, as that of the first Pocket cannot: "; !strings.Contains(said, want) {
		t.Errorf("no %q in\n%s", want, said)
	}
	silent.kill()
	i.run(0, i.pocket, "uninstall")
}

// waitAnswers waits until a pocket answers and is mounted.
func (i *installing) waitAnswers() {
	i.t.Helper()
	m := i.waitStatus("it is mounted", func(m control.Mount) bool { return m.State == control.Mounted })
	_, err := mounted(m.Path)
	must(i.t, err)
}

// A process that does not answer is ended, and what it had mounted goes with it.
func TestUninstallOfProcessThatDoesNotAnswer(t *testing.T) {
	needMounts(t)
	if underWine {
		t.Skip("pocket.exe's numbers are Wine's, and nothing of Linux can be told to stop by them")
	}
	t.Parallel()
	i := newInstalling(t)
	i.configure(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	writeFile(t, i.home("files", "before"), "what was there")
	i.run(0, i.pocket, "install")
	pid := i.pid()
	writeFile(t, i.home("files", "file"), "written before")
	suspend(t, pid)
	said := i.run(4, i.pocket, "uninstall")
	if want := "pocket: process " + strconv.Itoa(pid) + " does not answer: it is ended now, and what is not uploaded stays in the journal\n"; !strings.Contains(said, want) {
		t.Errorf("said %q", said)
	}
	i.says("stopped    pid "+strconv.Itoa(pid), "removed    "+native(i.program()))
	i.waitGone(pid)
	if left := mountsBelow(i.home()); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
	if got := readFile(t, i.home("files", "before")); got != "what was there" {
		t.Errorf("what was there is %q", got)
	}
	p := i.restart()
	if got := readFile(t, i.home("files", "file")); got != "written before" {
		t.Errorf("the file is %q", got)
	}
	p.stop()
}

// begin starts a command of pocket.
func (i *installing) begin(program string, args ...string) *process {
	i.t.Helper()
	cmd := programCommand(program, args...)
	cmd.Env, cmd.Dir = i.env, i.home()
	return i.startCommand(cmd)
}

// Ctrl-C while the old one uploads: it goes on, and all is installed as it was.
func TestInterruptedWhileTheOldOneUploads(t *testing.T) {
	needMounts(t)
	t.Parallel()
	for _, c := range []struct{ command, said string }{
		{"install", "pocket: nothing was installed: "},
		{"uninstall", "pocket: it is still installed\n"},
	} {
		t.Run(c.command, func(t *testing.T) {
			t.Parallel()
			i := newInstalling(t)
			folder := newFolder(t)
			i.configure(dirStorage("store", folder), mountTable("files", "store"))
			starts := i.run(0, i.pocket, "install")
			pid := i.pid()
			must(t, os.Rename(folder, folder+".away"))
			writeFile(t, i.home("files", "file"), "not uploaded")
			p := i.begin(i.newer("2"), c.command)
			p.waitSaid("uploads have failed since ")
			p.interrupt()
			if code := p.wait(); code != exitError {
				t.Errorf("code %d", code)
			}
			for _, part := range []string{"pocket: interrupted: pocket goes on stopping", c.said} {
				if said := p.stderr.text(); !strings.Contains(said, part) {
					t.Errorf("no %q in\n%s", part, said)
				}
			}
			sameContent(t, i.program(), program)
			if onWindows {
				i.out = "autostart  " + autostartOfWindows
			}
			i.startsByItself(starts) // as it did
			must(t, os.Rename(folder+".away", folder))
			i.waitGone(pid)
			i.run(0, i.pocket, "uninstall")
			if got := readFile(t, filepath.Join(folder, dataKey("", "not uploaded"))); got != "not uploaded" {
				t.Errorf("the folder has %q", got)
			}
		})
	}
}

// Ctrl-C while the new one waits for its store: what was there is put back, also when that is
// nothing.
func TestInterruptedWhileTheNewOneStarts(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	asked, release := make(chan struct{}, 1), make(chan struct{})
	hang := s3test.Hang(release)
	b.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case asked <- struct{}{}:
		default:
		}
		hang(w, r, next)
	})
	defer close(release)
	i := newInstalling(t)
	i.configure(b.storage("store"), mountTable("files", "store"))
	interrupted := func() string {
		t.Helper()
		select {
		case <-asked: // by the one before
		default:
		}
		p := i.begin(i.newer("2"), "install")
		<-asked
		p.interrupt()
		if code := p.wait(); code != exitError {
			t.Errorf("code %d", code)
		}
		said := p.stderr.text()
		if !strings.Contains(said, "pocket: interrupted: ") || !strings.Contains(said, "pocket: nothing was installed: what was there before is as it was\n") {
			t.Errorf("said %q", said)
		}
		return said
	}
	interrupted()
	i.programsLeft()
	if running := i.status(); len(running) > 0 {
		t.Errorf("it runs: %+v", running)
	}

	other := i.path("other.toml")
	writeFile(t, other, mountTable("other", "memory"))
	i.run(0, i.pocket, "install", "--config", native(other))
	before := i.pid()
	if said := interrupted(); !strings.Contains(said, "pocket: started again: pid ") {
		t.Errorf("said %q", said)
	}
	sameContent(t, i.program(), program)
	i.waitGone(before)
	i.waitAnswers()
	i.run(0, i.pocket, "uninstall")
}

// wineLogon does what Windows does when the user logs on: it starts what the registry says.
func wineLogon(i *installing) {
	i.t.Helper()
	for _, args := range [][]string{
		{"wineboot"},
		{"reg", "delete", `HKCU\Volatile Environment`, "/f"}, // Wine's own directories, in the place of the test's
	} {
		cmd := programCommand(args[0], args[1:]...)
		cmd.Env, cmd.Dir = i.env, i.home()
		if err := cmd.Run(); err != nil {
			i.t.Fatalf("%s: %v", args, err)
		}
	}
}

// Nobody is there at the logon: what cannot be mounted then is mounted as soon as it can. It does not run beside
// others: Wine forgets their directories for a moment.
func TestLogonOnWindows(t *testing.T) {
	needMounts(t)
	if !onWindows {
		t.Skip("TestServiceIsReadyThoughNothingIsMounted is Linux'")
	}
	i := newInstalling(t)
	i.configure(mountTable("files", "memory"))
	writeFile(t, i.home("files"), "in the way")
	i.run(0, i.pocket, "install", "--no-start")
	logon(i)
	i.waitStatus("it failed", func(m control.Mount) bool { return m.Retry != nil })
	must(t, os.Remove(i.home("files")))
	i.waitStatus("it is there", func(m control.Mount) bool { return m.State == control.Mounted && m.Error == "" })
	for _, part := range []string{`msg="says: files: `, ` is a file: `, `: it is tried again until it is there"`, `msg="says: mounted files at `} {
		if !strings.Contains(i.log(), part) {
			t.Errorf("the log has no %q:\n%s", part, i.log())
		}
	}
	i.run(0, i.pocket, "uninstall")
}

// subsystem returns the subsystem of a program for Windows.
func subsystem(t *testing.T, path string) uint16 {
	t.Helper()
	f, err := pe.Open(path)
	must(t, err)
	defer f.Close()
	switch header := f.OptionalHeader.(type) {
	case *pe.OptionalHeader32:
		return header.Subsystem
	case *pe.OptionalHeader64:
		return header.Subsystem
	}
	t.Fatal(path, "has no optional header")
	return 0
}

// Windows makes a console for every program of consoles that it starts itself. What it starts at the logon is none.
func TestStarterOnWindows(t *testing.T) {
	needMounts(t)
	if !onWindows {
		t.Skip("there is none elsewhere")
	}
	t.Parallel()
	i := newInstalling(t)
	i.configure(mountTable("files", "memory"))
	i.run(0, i.pocket, "install", "--no-start")
	if got := subsystem(t, i.program()); got != pe.IMAGE_SUBSYSTEM_WINDOWS_CUI {
		t.Errorf("pocket.exe is of subsystem %d", got)
	}
	if got := subsystem(t, i.starter()); got != pe.IMAGE_SUBSYSTEM_WINDOWS_GUI {
		t.Errorf("pocketw.exe is of subsystem %d", got)
	}

	// By hand, as from the Explorer: it leaves a pocket.exe, and what is wrong is in the log.
	start := func(args ...string) *process {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		must(t, err)
		defer null.Close()
		cmd := programCommand(i.starter(), args...)
		cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = i.env, i.home(), null, null, null
		return i.startCommand(cmd)
	}
	if code := start("--bogus").wait(); code != exitUsage || !strings.Contains(i.log(), "says: unknown flag: --bogus: see pocket --help") {
		t.Errorf("code %d, and the log is\n%s", code, i.log())
	}
	if code := start().wait(); code != exitOK {
		t.Errorf("code %d", code)
	}
	i.waitAnswers()
	if code, _, said := i.ask("stop"); code != exitOK {
		t.Errorf("pocket stop: code %d: %s", code, said)
	}
	i.run(0, i.pocket, "uninstall")
	i.programsLeft()
}
