package autostart

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

func TestRunValueIsWrittenReplacedAndRemoved(t *testing.T) {
	v := runValue{key: `Software\hamflx-pocket-test\Run`, name: "Pocket"}
	t.Cleanup(func() {
		registry.DeleteKey(registry.CURRENT_USER, `Software\hamflx-pocket-test\Run`)
		registry.DeleteKey(registry.CURRENT_USER, `Software\hamflx-pocket-test`)
	})
	require.NoError(t, v.Remove(t.Context()), "no key")
	_, ok, err := v.Load()
	require.NoError(t, err)
	require.False(t, ok)

	for _, args := range [][]string{nil, {"--config", `C:\my files\"x".toml`}} {
		text, err := v.Text(`C:\Users\a b\pocket.exe`, args)
		require.NoError(t, err)
		require.NoError(t, v.Save(t.Context(), text))
		kept, ok, err := v.Load()
		require.NoError(t, err)
		require.True(t, ok)
		words, err := windows.DecomposeCommandLine(kept)
		require.NoError(t, err)
		require.Equal(t, append([]string{`C:\Users\a b\pocket.exe`}, args...), words)
	}
	require.NoError(t, v.Remove(t.Context()))
	require.NoError(t, v.Remove(t.Context()), "no value")
	_, ok, err = v.Load()
	require.NoError(t, err)
	require.False(t, ok)
}

func TestRunValueIsWhatTheFirstPocketWrote(t *testing.T) {
	text, err := runValue{}.Text(`C:\pocket\bin\pocket.exe`, nil)
	require.NoError(t, err)
	require.Equal(t, `"C:\pocket\bin\pocket.exe"`, text)
}

func TestRunValueThatWindowsWouldNotStartIsRefused(t *testing.T) {
	_, err := runValue{}.Text(`C:\`+strings.Repeat("x", 240)+`\pocket.exe`, []string{"--config", "C:\\y"})
	require.ErrorContains(t, err, "longer than the 260 characters")
}
