package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The environments golden files are read in.
var (
	linuxEnv = Env{GOOS: "linux", Dir: "/home/me/project", LookupEnv: vars{
		"HOME": "/home/me", "PROJECT": "/srv/project", "EMPTY": "", "MONEY": "/srv/$PROJECT",
	}.lookup}
	darwinEnv  = Env{GOOS: "darwin", Dir: "/Users/me/project", LookupEnv: vars{"HOME": "/Users/me"}.lookup}
	windowsEnv = Env{GOOS: "windows", Dir: `D:\project`, LookupEnv: vars{
		"USERPROFILE": `C:\Users\me`, "APPDATA": `C:\Users\me\AppData\Roaming`, "ProgramFiles(x86)": `C:\Program Files (x86)`,
		"HOME": "/home/me", // as a Cygwin shell exports it
	}.lookup}
)

type vars map[string]string

func (v vars) lookup(name string) (string, bool) {
	value, ok := v[name]
	return value, ok
}

// Each file of testdata/golden holds a configuration and what comes of it: the mistakes,
// or the mounts and warnings. Its name begins with the system it is read on. After a
// change of texts run the test with -update and read the difference.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			require.Len(t, archive.Files, 2)
			require.Equal(t, "config.toml", archive.Files[0].Name)
			got := outcome(name, archive.Files[0].Data)
			if *update {
				archive.Files[1] = txtar.File{Name: "outcome", Data: []byte(got)}
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
				return
			}
			require.Equal(t, "outcome", archive.Files[1].Name)
			require.Equal(t, string(archive.Files[1].Data), got)
		})
	}
}

// outcome reads a configuration and shows all that comes of it.
func outcome(name string, text []byte) string {
	env := linuxEnv
	switch system, _, _ := strings.Cut(name, "-"); system {
	case "windows":
		env = windowsEnv
	case "darwin":
		env = darwinEnv
	}
	perm := os.FileMode(0o600)
	if strings.Contains(name, "world-readable") {
		perm = 0o644
	}
	cfg, err := parse(Candidates(env)[0], text, perm, env)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, m := range cfg.Mounts {
		fmt.Fprintf(&b, "mount %q on %s, prefix %q, mode %s, chunks %s, cache %s, uploads %d, line %d\n", m.Name, m.Path, m.Prefix, m.Mode,
			formatSize(m.ChunkSize), formatSize(m.CacheSize), m.Uploads, m.Line)
		fmt.Fprintf(&b, "  storage %+v\n", m.Storage)
		if m.LocalNames != nil {
			fmt.Fprintf(&b, "  local names %q\n", m.LocalNames)
		}
		if m.Windows != (Windows{InfoTimeout: DefaultInfoTimeout}) {
			fmt.Fprintf(&b, "  windows %+v\n", m.Windows)
		}
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}
