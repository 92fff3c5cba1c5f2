// Linux only: see windows_linux_test.go.

package e2e

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hamflx/pocket/e2e/standin"
)

// volumeNames lists a directory.
func volumeNames(t *testing.T, v *standin.Volume, path string) (names []string) {
	t.Helper()
	d, err := v.Open(path)
	must(t, err)
	entries, err := d.List()
	must(t, err)
	must(t, d.Close())
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// directoryNames lists a directory of a Linux mount, sorted.
func directoryNames(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// volumeRename renames by path, as a program does.
func volumeRename(v *standin.Volume, from, to string, replace bool) error {
	f, err := v.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Rename(to, replace)
}

func volumeDelete(v *standin.Volume, path string) error {
	f, err := v.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Delete()
}

// Letter case does not tell names apart, beyond ASCII too, and is kept as it was given.
func TestCaseOfNamesOnWindows(t *testing.T) {
	t.Parallel()
	b := newBothSystems(t)
	p, v := b.windows()
	must(t, v.Mkdir("/Straße"))
	must(t, newVolumeFile(t, v, "/STRAẞE/ΣΊΣΥΦΟΣ.txt", "1").Close())
	for _, path := range []string{"/Straße/ΣΊΣΥΦΟΣ.txt", "/straße/σίσυφος.TXT", "/\u017fTRA\u1e9eE/Σίσυφοσ.Txt"} {
		volumeHolds(t, v, path, "1")
		f, err := v.Open(path)
		must(t, err)
		if stored, err := f.StoredPath(); err != nil || stored != "/Straße/ΣΊΣΥΦΟΣ.txt" {
			t.Errorf("%s is kept as %q, %v", path, stored, err)
		}
		must(t, f.Close())
		if _, err := v.Create(path); !errors.Is(err, standin.EEXIST) {
			t.Errorf("a new file %s gives %v", path, err)
		}
	}
	if err := v.Mkdir("/STRASSE"); err != nil { // simple folding: one letter stays one
		t.Error(err)
	}
	if err := v.Mkdir("/STRAẞE"); !errors.Is(err, standin.EEXIST) {
		t.Errorf("a new directory gives %v", err)
	}

	// A new spelling alone, also while another handle is open.
	other, err := v.Open("/straße/σίσυφος.txt")
	must(t, err)
	must(t, volumeRename(v, "/straße/σίσυφος.txt", "/straße/Σίσυφος.TXT", false))
	if stored, err := other.StoredPath(); err != nil || stored != "/Straße/Σίσυφος.TXT" {
		t.Errorf("after the rename it is kept as %q, %v", stored, err)
	}
	must(t, other.SetFlags(standin.Hidden))
	must(t, other.Close())
	if s, err := v.Stat("/straße/σίσυφος.txt"); err != nil || s.Flags != standin.Hidden {
		t.Errorf("its flags are %#x, %v", s.Flags, err)
	}

	// Over a file in another spelling: the new name's remains.
	must(t, newVolumeFile(t, v, "/saved.tmp", "2").Close())
	must(t, newVolumeFile(t, v, "/Document.txt", "1").Close())
	if err := volumeRename(v, "/saved.tmp", "/DOCUMENT.TXT", false); !errors.Is(err, standin.EEXIST) {
		t.Errorf("a rename that must not replace gives %v", err)
	}
	must(t, volumeRename(v, "/SAVED.TMP", "/DOCUMENT.TXT", true))
	volumeHolds(t, v, "/document.txt", "2")
	p.stop()

	l := b.linux()
	if names := directoryNames(t, l.at("files")); !slices.Equal(names, []string{"DOCUMENT.TXT", "STRASSE", "Straße"}) {
		t.Errorf("Linux sees %q", names)
	}
	if names := directoryNames(t, l.at("files", "Straße")); !slices.Equal(names, []string{"Σίσυφος.TXT"}) {
		t.Errorf("Linux sees %q", names)
	}
	l.stop()
}

// What Linux made and Windows cannot have is shown by another name, and found by it.
func TestNamesOfLinuxOnWindows(t *testing.T) {
	t.Parallel()
	b := newBothSystems(t)
	l := b.linux()
	for _, name := range []string{"Read me.txt", "READ ME.TXT", "read me.txt", "Dir/a", "dir/b",
		strings.Repeat("長", 85), strings.Repeat("l", 254) + ".", strings.Repeat("\uf03a", 80) + ".txt",
		"CON", "nul.txt", "com1.tar.gz", "dot.", "space ", "a:b", `all*?"<>|\`, "aux./x ", "\uf03a"} {
		writeFile(t, l.at("files", name), "of "+name)
	}
	l.stop()

	p, v := b.windows()
	// WinFsp makes of these what it has for : * ? and so on; the rest Pocket does.
	shown := map[string]string{"\uf043ON": "CON", "\uf06eul.txt": "nul.txt", "\uf063om1.tar.gz": "com1.tar.gz", "dot\uf02e": "dot.",
		"space\uf020": "space ", "a:b": "a:b", `all*?"<>|\`: `all*?"<>|\`, "\uf0fe\uf13a": "\uf03a", "Read me.txt": "Read me.txt",
		strings.Repeat("長", 85): strings.Repeat("長", 85)}
	twins := map[string]*regexp.Regexp{
		"READ ME.TXT": regexp.MustCompile(`^READ ME \(case conflict [0-9a-f]{8}\)\.TXT$`),
		"read me.txt": regexp.MustCompile(`^read me \(case conflict [0-9a-f]{8}\)\.txt$`),
		"dir":         regexp.MustCompile(`^dir \(case conflict [0-9a-f]{8}\)$`),
		// WinFsp lists no name of more than 255 bytes.
		strings.Repeat("l", 254) + ".":        regexp.MustCompile(`^l{200,}~ \(long name [0-9a-f]{16}\)\x{f02e}$`),
		strings.Repeat("\uf03a", 80) + ".txt": regexp.MustCompile(`^(\x{f0fe}\x{f13a}){30,}~ \(long name [0-9a-f]{16}\)\.txt$`),
	}
	names := volumeNames(t, v, "/")
	for name, pattern := range twins {
		i := slices.IndexFunc(names, pattern.MatchString)
		if i < 0 {
			t.Fatalf("%s is not among %q", name, names)
		}
		shown[names[i]] = name
	}
	twin := func(name string) string {
		for as, of := range shown {
			if of == name {
				return "/" + as
			}
		}
		t.Fatalf("no %s", name)
		return ""
	}
	if want := len(shown) + 2; len(names) != want { // Dir and aux.
		t.Errorf("%d names, not %d: %q", len(names), want, names)
	}
	for as, name := range shown {
		if !slices.Contains(names, as) {
			t.Errorf("%s is not shown as %q: %q", name, as, names)
		}
		f, err := v.Open("/" + as)
		must(t, err)
		if stored, err := f.StoredPath(); err != nil || stored != "/"+as {
			t.Errorf("the path of %q is %q, %v", as, stored, err)
		}
		must(t, f.Close())
		if name != "dir" {
			volumeHolds(t, v, "/"+as, "of "+name)
		}
	}
	volumeHolds(t, v, "/\uf061UX\uf02e/X\uf020", "of aux./x ")
	volumeHolds(t, v, "/DIR/A", "of Dir/a")
	volumeHolds(t, v, twin("dir")+"/B", "of dir/b")
	volumeHolds(t, v, "/A\uf03aB", "of a:b")

	// All that can be done by a name.
	must(t, volumeRename(v, twin("READ ME.TXT"), "/Renamed.txt", false))
	must(t, volumeDelete(v, twin("read me.txt")))
	must(t, volumeRename(v, twin("dir")+"/b", "/Dir/B", false))
	must(t, volumeDelete(v, twin("dir")))
	must(t, volumeRename(v, strings.ToUpper(twin(strings.Repeat("l", 254)+".")), "/short", false))
	must(t, volumeDelete(v, twin(strings.Repeat("\uf03a", 80)+".txt")))
	must(t, volumeDelete(v, "/\uf043on"))
	must(t, volumeRename(v, "/\uf04eUL.TXT", "/\uf06cpt1", false))
	must(t, volumeRename(v, "/DOT\uf02e", "/Dot", false))
	must(t, newVolumeFile(t, v, "/new\uf02e", "x").Close())
	must(t, newVolumeFile(t, v, "/\uf061ux.c", "x").Close())
	if _, err := v.Create("/" + strings.Repeat("長", 86)); !errors.Is(err, standin.ENAMETOOLONG) {
		t.Errorf("a name that would be in no listing gives %v", err)
	}
	if _, err := v.Create("/COM1.TAR.GZ"); !errors.Is(err, standin.EEXIST) {
		t.Errorf("a name that is shown otherwise is taken, and gives %v", err)
	}
	p.stop()

	l = b.linux()
	want := []string{"Dir", "Dot", "Read me.txt", "Renamed.txt", "a:b", `all*?"<>|\`, "aux.", "aux.c", "com1.tar.gz",
		"lpt1", "new.", "short", "space ", strings.Repeat("長", 85), "\uf03a"}
	if names := directoryNames(t, l.at("files")); !slices.Equal(names, want) {
		t.Errorf("Linux sees %q\nnot %q", names, want)
	}
	for name, was := range map[string]string{"Renamed.txt": "READ ME.TXT", "Read me.txt": "Read me.txt", "Dir/B": "dir/b", "Dir/a": "Dir/a", "lpt1": "nul.txt", "short": strings.Repeat("l", 254) + "."} {
		if got := readFile(t, l.at("files", name)); got != "of "+was {
			t.Errorf("%s holds %q", name, got)
		}
	}
	l.stop()
}
