package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the documentation shows is what happens.
func TestExamplesOfTheDocumentation(t *testing.T) {
	doc, err := os.ReadFile("../../docs/config.md")
	require.NoError(t, err)
	text := strings.ReplaceAll(string(doc), "\r\n", "\n")
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	toml := regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")
	examples := toml.FindAllStringSubmatch(text, -1)
	require.GreaterOrEqual(t, len(examples), 2)
	first := toml.FindAllStringSubmatch(strings.ReplaceAll(string(readme), "\r\n", "\n"), -1)
	require.NotEmpty(t, first)
	for _, e := range append(examples, first...) {
		cfg, err := parse("/etc/config.toml", []byte(e[1]), 0o600, linuxEnv)
		require.NoError(t, err)
		require.Empty(t, cfg.Warnings)
	}
	mistakes := regexp.MustCompile("(?ms)^```toml mistake\n(.*?)^```\n^```\n(.*?)^```$").FindAllStringSubmatch(text, -1)
	require.Len(t, mistakes, strings.Count(text, "```toml mistake\n"))
	require.NotEmpty(t, mistakes)
	for _, m := range mistakes {
		_, err := parse("config.toml", []byte(m[1]), 0o600, linuxEnv)
		require.EqualError(t, err, strings.TrimSpace(m[2]))
	}
}
