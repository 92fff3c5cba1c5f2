package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/control"
)

// unpacked is a directory with what a zip file for Windows has: the three programs. The stand-in is
// there too, and where the installed pocket.exe will look for it.
func (i *installing) unpacked() (dir string) {
	i.t.Helper()
	given := filepath.Dir(os.Getenv("POCKET_E2E_BINARY"))
	dir = i.path("unpacked")
	must(i.t, os.MkdirAll(dir, 0o755))
	must(i.t, os.MkdirAll(i.data("bin"), 0o755))
	for _, name := range []string{"pocket.exe", "pocket-creds.exe", "pocket-index.exe", "unprotect.exe", "winfsp-x64.dll"} {
		must(i.t, copyProgram(filepath.Join(given, name), filepath.Join(dir, name)))
	}
	must(i.t, copyProgram(filepath.Join(given, "winfsp-x64.dll"), i.data("bin", "winfsp-x64.dll")))
	return dir
}

// registry asks for the value by which Windows starts pocket, or changes it.
func (i *installing) registry(command string, args ...string) (string, error) {
	cmd := exec.Command(wine, append([]string{"reg", command, `HKCU\Software\Microsoft\Windows\CurrentVersion\Run`, "/v", "Pocket"}, args...)...)
	cmd.Env = i.env
	said, err := cmd.Output()
	return string(said), err
}

// forget removes the value, if there is one.
func (i *installing) forget() { i.registry("delete", "/f") }

// runValue returns what the registry has to start pocket with, or nothing.
func (i *installing) runValue() string {
	i.t.Helper()
	said, err := i.registry("query")
	if err != nil {
		return "" // reg says so of a value and of a key that are not there
	}
	_, value, ok := strings.Cut(said, "REG_SZ")
	if !ok {
		i.t.Fatalf("reg says %q", said)
	}
	return strings.TrimSpace(value)
}

// The three programs as a user has them: from the access key to what is in the bucket.
//
// There is one registry for all tests, so this one does not run beside others.
func TestInstallOnWindows(t *testing.T) {
	needWine(t)
	b := newBucket(t)
	i := newInstalling(t)
	dir := i.unpacked()
	pocket, creds, index := filepath.Join(dir, "pocket.exe"), filepath.Join(dir, "pocket-creds.exe"), filepath.Join(dir, "pocket-index.exe")
	i.forget() // what a run that was killed has left
	t.Cleanup(i.forget)

	// An access key, kept as the first Pocket kept it.
	key := b.AccessKeyID + "\n" + b.SecretAccessKey
	i.stdin = key + "\n"
	i.run(0, creds, "set", "work")
	i.stdin = readFile(t, filepath.Join(filepath.Dir(i.configFile()), "credentials", "work.bin"))
	if strings.Contains(i.stdin, b.SecretAccessKey) {
		t.Error("the secret key can be read")
	}
	i.run(0, filepath.Join(dir, "unprotect.exe"))
	if i.out != key {
		t.Errorf("kept is %q, not %q", i.out, key)
	}
	i.stdin = ""
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

	// It is copied, started, mounted, and recorded to be started.
	installed := native(i.data("bin", "pocket.exe"))
	autostart := `HKCU\Software\Microsoft\Windows\CurrentVersion\Run  Pocket`
	i.run(0, pocket, "install")
	i.says("installed  "+installed, "installed  "+native(i.data("bin", "pocket-creds.exe")), "installed  "+native(i.data("bin", "pocket-index.exe")),
		"autostart  "+autostart, "mounted    files at "+native(i.home("files")))
	first := i.pid()
	if value := i.runValue(); value != `"`+installed+`" --retry` {
		t.Errorf("the registry starts %s", value)
	}
	i.run(0, pocket, "status")
	if !strings.HasPrefix(i.out, "files  mounted at "+native(i.home("files"))+"\n") {
		t.Errorf("status says\n%s", i.out)
	}
	i.run(0, pocket, "status", "--json")
	var s struct{ Running []control.Status }
	if err := json.Unmarshal([]byte(i.out), &s); err != nil || len(s.Running) != 1 || s.Running[0].PID != first ||
		s.Running[0].Config != native(i.configFile()) || s.Running[0].Mounts[0].State != control.Mounted {
		t.Errorf("status --json: %v\n%s", err, i.out)
	}
	_, err := mounted(native(i.home("files")))
	must(t, err)
	writeFile(t, i.home("files", "file"), "before the upgrade")
	i.run(0, pocket, "wait")
	if got, _ := b.Object(dataKey("here/", "before the upgrade")); got == nil {
		t.Error("what was waited for is not in the bucket")
	}

	// A newer version takes its place.
	body, err := os.ReadFile(pocket)
	must(t, err)
	must(t, os.WriteFile(pocket, append(body, "newer"...), 0o755))
	i.run(0, pocket, "install")
	i.says("stopped    pid "+strconv.Itoa(first), "installed  "+installed, "mounted    files at "+native(i.home("files")))
	second := i.pid()
	sameContent(t, i.data("bin", "pocket.exe"), pocket)
	_, err = mounted(native(i.home("files")))
	must(t, err)
	if got := readFile(t, i.home("files", "file")); got != "before the upgrade" {
		t.Errorf("the file is %q", got)
	}
	writeFile(t, i.home("files", "file"), "before the end")

	// Nothing of it is left but what the user has, and that is all in the bucket.
	i.run(0, pocket, "uninstall")
	i.says("stopped    pid "+strconv.Itoa(second), "removed    "+autostart, "removed    "+installed,
		"kept       "+native(filepath.Dir(i.configFile())), "kept       "+native(i.data()))
	if value := i.runValue(); value != "" {
		t.Errorf("the registry still starts %s", value)
	}
	left, err := os.ReadDir(i.data("bin"))
	if err != nil || len(left) != 1 || left[0].Name() != "winfsp-x64.dll" {
		t.Errorf("left of the programs: %v, %v", left, err)
	}
	if left := mountsBelow(i.home()); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
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
	if said := i.run(0, pocket, "uninstall"); said != "pocket: nothing is installed\n" || i.out != "" {
		t.Errorf("said %q, %q", i.out, said)
	}
}

// logon does what Windows does when the user logs on: it starts what the registry says.
func (i *installing) logon() {
	i.t.Helper()
	for _, args := range [][]string{
		{"wineboot"},
		{"reg", "delete", `HKCU\Volatile Environment`, "/f"}, // Wine's own directories, in the place of the test's
	} {
		cmd := exec.Command(wine, args...)
		cmd.Env, cmd.Dir = i.env, i.home()
		if err := cmd.Run(); err != nil {
			i.t.Fatalf("%s: %v", args, err)
		}
	}
}

// waitMount waits until a pocket is running whose only mount is as it should be.
func (i *installing) waitMount(what string, ok func(control.Mount) bool) {
	i.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		running := i.status()
		if len(running) > 0 && ok(running[0].Mounts[0]) {
			return
		}
		if time.Now().After(deadline) {
			i.t.Fatalf("after %v status does not tell: %s: %+v", patience, what, running)
		}
	}
}

// Nobody is there at the logon: what cannot be mounted then is mounted as soon as it can.
//
// As TestInstallOnWindows it does not run beside others.
func TestLogonOnWindows(t *testing.T) {
	needWine(t)
	i := newInstalling(t)
	pocket := filepath.Join(i.unpacked(), "pocket.exe")
	i.forget()
	t.Cleanup(i.forget)
	i.configure(mountTable("files", "memory"))
	writeFile(t, i.home("files"), "in the way")
	i.run(0, pocket, "install", "--no-start")
	i.logon()
	i.waitMount("it failed", func(m control.Mount) bool { return m.Retry != nil })
	must(t, os.Remove(i.home("files")))
	i.waitMount("it is there", func(m control.Mount) bool { return m.State == control.Mounted && m.Error == "" })
	for _, part := range []string{`msg="says: files: `, ` is a file: `, `: it is tried again until it is there"`, `msg="says: mounted files at `} {
		if !strings.Contains(i.log(), part) {
			t.Errorf("the log has no %q:\n%s", part, i.log())
		}
	}
	i.run(0, pocket, "uninstall")
}

// Since Windows 11 24H2 this keeps the window of a console from being shown at the logon.
func TestManifestOnWindows(t *testing.T) {
	needWine(t)
	manifest := readFile(t, filepath.Join("..", "cmd", "pocket", "pocket.manifest"))
	if !strings.Contains(manifest, ">detached</consoleAllocationPolicy>") || !strings.Contains(readFile(t, program), manifest) {
		t.Error("pocket.exe wants a console")
	}
}

// installedWithoutStore is a machine with a pocket.exe that is installed and mounts ~/files from a folder, which is away then,
// with a file that is not uploaded.
func installedWithoutStore(t *testing.T) (i *installing, pocket, folder string) {
	t.Helper()
	needWine(t)
	i = newInstalling(t)
	pocket = filepath.Join(i.unpacked(), "pocket.exe")
	i.forget()
	t.Cleanup(i.forget)
	folder = newFolder(t)
	i.configure(dirStorage("store", folder), mountTable("files", "store"))
	i.run(0, pocket, "install")
	_, err := mounted(native(i.home("files")))
	must(t, err)
	must(t, os.Rename(folder, folder+".away"))
	writeFile(t, i.home("files", "file"), "not uploaded")
	return i, pocket, folder
}

// What cannot be uploaded is in the journal, and pocket is gone all the same.
//
// As TestInstallOnWindows these do not run beside others.
func TestUninstallWithoutTheStoreUnderWine(t *testing.T) {
	i, pocket, folder := installedWithoutStore(t)
	said := i.run(4, pocket, "uninstall", "--timeout", "1s")
	if !strings.Contains(said, "changes are left in the journal on this machine: the next start uploads them") {
		t.Errorf("said %q", said)
	}
	if _, err := os.Stat(i.data("bin", "pocket.exe")); !os.IsNotExist(err) || i.runValue() != "" {
		t.Errorf("the program: %v; the registry starts %q", err, i.runValue())
	}
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

// Ctrl-C while the old one uploads: that goes on, and all is installed as it was.
func TestInterruptedInstallUnderWine(t *testing.T) {
	i, pocket, folder := installedWithoutStore(t)
	installed, value := readFile(t, i.data("bin", "pocket.exe")), i.runValue()
	must(t, os.WriteFile(pocket, []byte(installed+"newer"), 0o755))
	for command, end := range map[string]string{
		"install": "pocket: nothing was installed: ", "uninstall": "pocket: it is still installed\n",
	} {
		p := i.begin("uploads have failed since ", pocket, command)
		p.interrupt()
		if code := p.wait(); code != exitError {
			t.Errorf("%s: code %d", command, code)
		}
		for _, part := range []string{"pocket: interrupted: pocket goes on stopping", end} {
			if said := p.stderr.text(); !strings.Contains(said, part) {
				t.Errorf("%s: no %q in\n%s", command, part, said)
			}
		}
		if readFile(t, i.data("bin", "pocket.exe")) != installed || i.runValue() != value {
			t.Errorf("%s has changed what is installed", command)
		}
	}
	must(t, os.Rename(folder+".away", folder))
	for deadline := time.Now().Add(patience); len(i.status()) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("what was told to stop has not ended")
		}
	}
	i.run(0, pocket, "uninstall")
	if got := readFile(t, filepath.Join(folder, dataKey("", "not uploaded"))); got != "not uploaded" {
		t.Errorf("the folder has %q", got)
	}
}
