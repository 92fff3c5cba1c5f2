package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// After a change of the manifest: go generate ./cmd/pocket
func TestManifestIsWhatIsLinked(t *testing.T) {
	manifest, err := os.ReadFile("pocket.manifest")
	require.NoError(t, err)
	for _, arch := range []string{"amd64", "arm64"} {
		object, err := os.ReadFile("rsrc_windows_" + arch + ".syso")
		require.NoError(t, err)
		require.Contains(t, string(object), strings.ReplaceAll(string(manifest), "\r\n", "\n"))
	}
	objects, err := filepath.Glob("*.syso")
	require.NoError(t, err)
	require.Len(t, objects, 2)
}
