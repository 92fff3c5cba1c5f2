//go:build linux || windows

package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// programCases is what people run on a mount besides git and SQLite, which have tests of
// their own. Each gets a directory in a mount.
var programCases = []struct {
	name   string
	system string // GOOS, or empty for all
	needs  []string
	run    func(t *testing.T, dir string)
}{
	{"ssh key", "", []string{"ssh-keygen"}, sshKey},
	{"save of an editor", "", nil, editorSaves},
	{"rsync", "linux", []string{"rsync"}, rsync},
	{"robocopy", "windows", []string{"robocopy"}, robocopy},
	{"icacls", "windows", []string{"icacls"}, icacls},
	{"attrib", "windows", []string{"attrib"}, attrib},
	{"Rename-Item", "windows", []string{"powershell"}, renameItem},
	{"names without case", "windows", nil, namesWithoutCase},
}

func TestProgramsOnMount(t *testing.T) {
	needMounts(t)
	t.Parallel()
	config := []string{dirStorage("store", newFolder(t)), mountTable("files", "store")}
	p := newMachine(t).up(config...)
	t.Run("directory", func(t *testing.T) { runPrograms(t, p.at("files")) })
	left := readTree(t, p.at("files"))
	p.stop()
	p = newMachine(t).up(config...)
	sameTree(t, left, readTree(t, p.at("files")))
	p.stop()

	t.Run("drive", func(t *testing.T) {
		if runtime.GOOS != "windows" {
			t.Skip("drives have letters on Windows alone")
		}
		drive := freeDrive(t)
		m := newMachine(t)
		p := m.up(dirStorage("store", newFolder(t)), fmt.Sprintf("[[mounts]]\nname = \"files\"\nmount_path = %q\nstorage = \"store\"\n", drive))
		runPrograms(t, drive+`\`)
		p.stop()
	})
}

func runPrograms(t *testing.T, root string) {
	for _, c := range programCases {
		t.Run(c.name, func(t *testing.T) {
			if c.system != "" && c.system != runtime.GOOS && !(c.system == "windows" && onWindows) {
				t.Skipf("a case of %s", c.system)
			}
			for _, program := range c.needs {
				needProgram(t, program)
				if underWine && c.system == "windows" {
					t.Skip("Wine's own, on a Linux mount: it says nothing of WinFsp")
				}
			}
			dir := filepath.Join(root, c.name)
			must(t, os.Mkdir(dir, 0o755))
			c.run(t, dir)
		})
	}
}

// freeDrive returns a drive that is not there, as in "P:".
func freeDrive(t *testing.T) string {
	t.Helper()
	for letter := 'P'; letter <= 'Y'; letter++ {
		drive := string(letter) + ":"
		if _, err := os.Stat(drive + `\`); os.IsNotExist(err) {
			return drive
		}
	}
	t.Skip("no letter between P and Y is free")
	return ""
}

// output runs a program and returns what it prints.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// OpenSSH uses a private key only if nobody else may read it.
func sshKey(t *testing.T, dir string) {
	if underWine {
		t.Skip("OpenSSH for Linux looks at modes, which the mount of Windows' files has not: TestVolumeOnWindows looks at the rights")
	}
	key := filepath.Join(dir, "id_ed25519")
	output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "somebody", "-f", key)
	public := readFile(t, key+".pub")
	if got := output(t, "ssh-keygen", "-y", "-f", key); strings.TrimSpace(got) != strings.TrimSpace(public) {
		t.Errorf("the public part is %q, not %q", got, public)
	}
}

// Editors write beside a file and rename over it, or rename the old one away first, while
// others have it open.
func editorSaves(t *testing.T, dir string) {
	path := filepath.Join(dir, "notes.txt")
	writeFile(t, path, "zero")
	for i := range 20 {
		old := readFile(t, path)
		body := fmt.Sprintf("save %d %s", i, strings.Repeat("x", i*100))
		if i%2 == 0 {
			writeFile(t, path+".tmp", body)
			must(t, os.Rename(path+".tmp", path))
		} else {
			must(t, os.Rename(path, path+"~"))
			writeFile(t, path, body)
			if got := readFile(t, path+"~"); got != old {
				t.Errorf("the backup is %q, not %q", got, old)
			}
			must(t, os.Remove(path+"~"))
		}
		if got := readFile(t, path); got != body {
			t.Errorf("after save %d the file is %q", i, got)
		}
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("editors leave %v", entries)
	}
}

// plainTree is a tree outside of the mount, to be copied.
func plainTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 4 {
		sub := filepath.Join(dir, "part", strings.Repeat("x", i+1))
		must(t, os.MkdirAll(sub, 0o755))
		writeTree(t, sub, uint64(i), 30)
	}
	return dir
}

func rsync(t *testing.T, dir string) {
	all := "-a"
	if onWindows {
		all = "-rlt" // it has no modes
	}
	from := plainTree(t)
	output(t, "rsync", all, from+"/", dir+"/in")
	if again := output(t, "rsync", all+"i", from+"/", dir+"/in"); again != "" {
		t.Errorf("a second rsync copies again:\n%s", again)
	}
	back := t.TempDir()
	output(t, "rsync", all, "--checksum", dir+"/in/", back)
	sameTree(t, onlyFiles(readTree(t, from)), onlyFiles(readTree(t, back)))
	must(t, os.RemoveAll(filepath.Join(from, "part", "x")))
	output(t, "rsync", all, "--delete", "--inplace", from+"/", dir+"/in")
	sameTree(t, onlyFiles(readTree(t, from)), onlyFiles(readTree(t, dir+"/in")))
}

// onlyFiles leaves out directories and links: rsync takes times of the same second for
// equal there, robocopy copies them when it likes.
func onlyFiles(tree map[string]entry) map[string]entry {
	maps.DeleteFunc(tree, func(_ string, e entry) bool { return !e.mode.IsRegular() })
	return tree
}

func robocopy(t *testing.T, dir string) {
	from, in, back := plainTree(t), filepath.Join(dir, "in"), t.TempDir()
	mirror := func(from, to string) (code int) {
		t.Helper()
		cmd := exec.Command("robocopy", from, to, "/MIR", "/COPY:DAT", "/DCOPY:T", "/R:0", "/W:0", "/NP")
		out, err := cmd.CombinedOutput()
		// Codes from 8 on say that something failed; 0 that nothing had to be copied.
		if code = cmd.ProcessState.ExitCode(); code >= 8 || code < 0 {
			t.Fatalf("robocopy %s %s: %v\n%s", from, to, err, out)
		}
		return code
	}
	mirror(from, in)
	if mirror(from, in) != 0 {
		t.Error("a second robocopy copies again")
	}
	mirror(in, back)
	sameTree(t, onlyFiles(readTree(t, from)), onlyFiles(readTree(t, back)))
	must(t, os.RemoveAll(filepath.Join(from, "part", "x")))
	mirror(from, in)
	sameTree(t, onlyFiles(readTree(t, from)), onlyFiles(readTree(t, in)))
}

// A file has rights for the user, SYSTEM and the administrators, and for nobody else.
func icacls(t *testing.T, dir string) {
	path := filepath.Join(dir, "secret")
	writeFile(t, path, "secret")
	said := output(t, "icacls", path)
	rights := regexp.MustCompile(`(?m)(\S[^\r\n]*?):(\([^\r\n]*\))\s*$`).FindAllStringSubmatch(strings.ReplaceAll(said, path, ""), -1)
	if len(rights) != 3 {
		t.Fatalf("icacls names %d holders of rights, not 3:\n%s", len(rights), said)
	}
	for _, r := range rights {
		if r[2] != "(F)" {
			t.Errorf("%s has %s, not full and own rights:\n%s", r[1], r[2], said)
		}
	}
}

func attrib(t *testing.T, dir string) {
	path := filepath.Join(dir, "file.txt")
	writeFile(t, path, "content")
	letters := func() string {
		line, _, _ := strings.Cut(output(t, "attrib", path), path)
		return strings.Join(strings.Fields(line), "")
	}
	output(t, "attrib", "+h", "+r", "+s", path)
	if got := letters(); !strings.Contains(got, "S") || !strings.Contains(got, "H") || !strings.Contains(got, "R") {
		t.Errorf("attributes are %q, not S, H and R", got)
	}
	if err := os.WriteFile(path, []byte("other"), 0o600); err == nil {
		t.Error("a read-only file can be written")
	}
	output(t, "attrib", "-h", "-r", "-s", path)
	if got := letters(); strings.ContainsAny(got, "SHR") {
		t.Errorf("attributes are %q, though taken away", got)
	}
	must(t, os.WriteFile(path, []byte("other"), 0o600))
}

func renameItem(t *testing.T, dir string) {
	writeFile(t, filepath.Join(dir, "one.txt"), "one")
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	for _, names := range [][2]string{{"one.txt", "two.txt"}, {"two.txt", "TWO.txt"}, {"folder", "Folder"}} {
		quoted := "'" + strings.ReplaceAll(filepath.Join(dir, names[0]), "'", "''") + "'"
		output(t, "powershell", "-NoProfile", "-NonInteractive", "-Command",
			"$ErrorActionPreference = 'Stop'; Rename-Item -LiteralPath "+quoted+" -NewName '"+names[1]+"'")
	}
	if got := dirNames(t, dir); !slices.Equal(got, []string{"Folder", "TWO.txt"}) {
		t.Errorf("names are %q", got)
	}
	if got := readFile(t, filepath.Join(dir, "two.TXT")); got != "one" {
		t.Errorf("the renamed file has %q", got)
	}
}

func namesWithoutCase(t *testing.T, dir string) {
	writeFile(t, filepath.Join(dir, "Straße Ärger.txt"), "one")
	if got := readFile(t, filepath.Join(dir, "STRAßE äRGER.TXT")); got != "one" {
		t.Errorf("in other case the file has %q", got)
	}
	if _, err := os.OpenFile(filepath.Join(dir, "straße ärger.txt"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); !os.IsExist(err) {
		t.Errorf("a second file of the same name in other case: %v", err)
	}
	if got := dirNames(t, dir); !slices.Equal(got, []string{"Straße Ärger.txt"}) {
		t.Errorf("names are %q", got)
	}
}
