package deps

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProjectKeepsItsRules(t *testing.T) {
	dir, err := root()
	require.NoError(t, err)
	breaches, err := check(dir)
	require.NoError(t, err)
	for _, b := range breaches {
		t.Error(b)
	}
}

// find writes files to a fresh directory and returns what check finds in them.
func find(t *testing.T, files map[string]string) []string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(body), 0o600))
	}
	breaches, err := check(dir)
	require.NoError(t, err)
	return breaches
}

// code is a Go file that imports paths; "./x" is a package of the project.
func code(imports ...string) string {
	var b strings.Builder
	b.WriteString("package x\n")
	for _, i := range imports {
		fmt.Fprintf(&b, "import _ %q\n", strings.Replace(i, "./", project+"/", 1))
	}
	return b.String()
}

// tidy is a project in which everybody is where they belong.
func tidy() map[string]string {
	return map[string]string{
		"cmd/pocket/main.go":                code("os", "./fsimpl", "./fsimpl/fusehost", "./objstore/s3store", "./internal/config", "github.com/spf13/pflag"),
		"fsimpl/fs.go":                      code("./objstore", "./loroindex", "./internal/journal", "./internal/objectid"),
		"fsimpl/fs_test.go":                 code("./objstore/storetest", "github.com/stretchr/testify/require"),
		"fsimpl/fusehost/host.go":           code("./fsimpl", "github.com/winfsp/cgofuse/fuse"),
		"objstore/store.go":                 code("context", "golang.org/x/sync/semaphore", "./internal/objectid"),
		"objstore/storetest/s3test/s.go":    code("github.com/johannesboyne/gofakes3", "./objstore"),
		"objstore/s3store/s3_windows.go":    code("github.com/aws/aws-sdk-go-v2/service/s3", "github.com/aws/smithy-go", "./objstore"),
		"loroindex/index.go":                code("./loroindex/loro", "./internal/objectid"),
		"loroindex/loro/doc.go":             code("github.com/pierrec/lz4/v4"),
		"internal/config/config.go":         code("github.com/BurntSushi/toml", "./internal/creds"),
		"internal/creds/seal_windows.go":    "package creds\nimport \"golang.org/x/sys/windows\"\nvar f = windows.CryptProtectData\n",
		"internal/term/term_windows.go":     "package term\nimport \"golang.org/x/sys/windows\"\nvar f = windows.GetConsoleMode\n",
		"internal/journal/journal.go":       code("modernc.org/sqlite"),
		"internal/objectid/objectid.go":     code("crypto/sha256"),
		"internal/autostart/run_windows.go": code("golang.org/x/sys/windows/registry"),
		"e2e/e2e_test.go":                   code("./objstore/storetest/s3test", "github.com/rogpeppe/go-internal/testscript"),
		"e2e/standin/dll.go":                code("C"),
		"docs/design.md":                    "a net" + "work/path and s3sha" + "red/ are words of their own\n",
		"scripts/test.sh":                   "#!/bin/sh\n",
		"loroindex/testdata/broken.go":      "package",
		"node_modules/x/y.md":               "/wo" + "rk/",
		"picture.png":                       "/wo" + "rk/",
	}
}

func TestTidyProjectPasses(t *testing.T) {
	require.Empty(t, find(t, tidy()))
}

// Each breach alone, in an otherwise tidy project, must be found, and nothing else.
func TestEveryRuleIsEnforced(t *testing.T) {
	for _, tc := range []struct {
		file, body string
		want       string // beginning of the only breach
		reason     string // of the rule, as far as it identifies it
	}{
		{"objstore/b.go", code("./loroindex"), "objstore/b.go:2: objstore must not reach loroindex, and does: objstore -> loroindex", "knows nothing of trees"},
		{"objstore/b.go", code("./fsimpl/manifest"), "objstore/b.go:2: objstore must not reach fsimpl/manifest", "knows nothing of trees"},
		{"objstore/memstore/m_test.go", code("./loroindex/loro"), "objstore/memstore/m_test.go:2: objstore/memstore must not reach loroindex/loro", "knows nothing of trees"},
		{"loroindex/b_plan9.go", code("./objstore"), "loroindex/b_plan9.go:2: loroindex must not reach objstore", "interfaces of its own"},
		{"loroindex/b_test.go", code("./objstore/memstore"), "loroindex/b_test.go:2: loroindex must not reach objstore/memstore", "interfaces of its own"},
		{"loroindex/b.go", code("./internal/journal"), "loroindex/b.go:2: loroindex must not reach internal/journal", "interfaces of its own"},
		{"loroindex/loro/b.go", code("./internal/objectid"), "loroindex/loro/b.go:2: loroindex/loro must not reach internal/objectid", "module of its own"},
		{"fsimpl/b.go", code("./fsimpl/fusehost"), "fsimpl/b.go:2: fsimpl must not reach fsimpl/fusehost", "tested without FUSE"},
		{"internal/term/b.go", code("./objstore"), "internal/term/b.go:2: internal/term must not reach objstore", "does not know them"},
		{"internal/objectid/b.go", code("./internal/term"), "internal/objectid/b.go:2: internal/objectid must not reach internal/term", "below everything"},
		{"fsimpl/b.go", code("./cmd/flags"), "fsimpl/b.go:2: fsimpl must not reach cmd/flags", "commands are on top"},
		{"cmd/pocket/b.go", code("./e2e"), "cmd/pocket/b.go:2: cmd/pocket must not reach e2e", "not the other way round"},
		{"cmd/pocket/b.go", code("./objstore/storetest/s3test"), "cmd/pocket/b.go:2: cmd/pocket must not reach objstore/storetest/s3test", "are for tests"},
		{"fsimpl/b.go", code("github.com/winfsp/cgofuse/fuse"), "fsimpl/b.go:2: imports github.com/winfsp/cgofuse/fuse, which only fsimpl/fusehost/... may", "without a mount"},
		{"fsimpl/b_test.go", code("github.com/winfsp/cgofuse/fuse"), "fsimpl/b_test.go:2: imports github.com/winfsp/cgofuse/fuse", "without a mount"},
		{"objstore/b.go", code("github.com/aws/aws-sdk-go-v2"), "objstore/b.go:2: imports github.com/aws/aws-sdk-go-v2", "translating"},
		{"objstore/b.go", code("github.com/aws/smithy-go/transport/http"), "objstore/b.go:2: imports github.com/aws/smithy-go/transport/http", "AWS SDK"},
		{"objstore/b.go", code("github.com/johannesboyne/gofakes3"), "objstore/b.go:2: imports github.com/johannesboyne/gofakes3", "for tests and the benchmark alone"},
		{"loroindex/b.go", code("github.com/pierrec/lz4/v4"), "loroindex/b.go:2: imports github.com/pierrec/lz4/v4", "Loro's blocks"},
		{"fsimpl/b.go", code("modernc.org/sqlite"), "fsimpl/b.go:2: imports modernc.org/sqlite", "no C compiler"},
		{"cmd/pocket/b.go", code("github.com/BurntSushi/toml"), "cmd/pocket/b.go:2: imports github.com/BurntSushi/toml", "checked and resolved"},
		{"fsimpl/b.go", code("github.com/spf13/pflag"), "fsimpl/b.go:2: imports github.com/spf13/pflag", "belong to commands"},
		{"cmd/pocket/b.go", code("golang.org/x/term"), "cmd/pocket/b.go:2: imports golang.org/x/term", "ask internal/term"},
		{"cmd/pocket/b_windows.go", code("golang.org/x/sys/windows/registry"), "cmd/pocket/b_windows.go:2: imports golang.org/x/sys/windows/registry", "machine state"},
		{"fsimpl/b.go", code("github.com/stretchr/testify/require"), "fsimpl/b.go:2: imports github.com/stretchr/testify/require", "for tests alone"},
		{"fsimpl/b.go", code("github.com/rogpeppe/go-internal/txtar"), "fsimpl/b.go:2: imports github.com/rogpeppe/go-internal/txtar", "for tests alone"},
		{"internal/journal/b.go", code("C"), "internal/journal/b.go:2: imports C,", "a C compiler"},
		{"fsimpl/b.go", code("example.com/left-pad"), "fsimpl/b.go:2: imports example.com/left-pad, which no rule allows", "table modules"},
		{"internal/config/b_windows.go", "package x\n\nimport w \"golang.org/x/sys/windows\"\n\nvar f = w.CryptUnprotectData\n",
			"internal/config/b_windows.go:5: uses CryptUnprotectData, which only internal/creds may", "one place"},
		{"internal/config/b_windows.go", "package x\n\nimport . \"golang.org/x/sys/windows\"\n", "internal/config/b_windows.go:3: imports golang.org/x/sys/windows with a dot", "hides"},
		{"fsimpl/b.go", "package x\n\n// see /wo" + "rk/notes\n", "fsimpl/b.go:3: holds ", "machine it was written on"},
		{"docs/b.md", "one\ntwo (sha" + "red/DESIGN.md)\n", "docs/b.md:2: holds ", "outside of the project"},
		{"scripts/tool", "#!/bin/sh\ncd /wo" + "rk/main\n", "scripts/tool:2: holds ", "machine it was written on"},
		{"fsimpl/b.go", "package\n", "fsimpl/b.go: cannot be parsed: ", ""},
	} {
		files := tidy()
		files[tc.file] = tc.body
		found := find(t, files)
		require.Len(t, found, 1, "%s: %s", tc.file, tc.body)
		require.True(t, strings.HasPrefix(found[0], tc.want), "%s\nis not\n%s", found[0], tc.want)
		require.Contains(t, found[0], tc.reason)
	}
}

func TestLayersAreKeptThroughOtherPackages(t *testing.T) {
	files := tidy()
	maps.Copy(files, map[string]string{
		"objstore/b.go":           code("./internal/middle"),
		"internal/middle/m.go":    code("./internal/deeper"),
		"internal/deeper/d_js.go": code("./loroindex"),
	})
	found := strings.Join(find(t, files), "\n")
	require.Contains(t, found, "objstore/b.go:2: objstore must not reach loroindex, and does: objstore -> internal/middle -> internal/deeper -> loroindex")
	require.Contains(t, found, "internal/deeper/d_js.go:2: internal/deeper must not reach loroindex, and does: internal/deeper -> loroindex")
	require.NotContains(t, found, "internal/middle/m.go", "the one that imports it is told")
}
