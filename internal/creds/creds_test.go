package creds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var sample = Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}

func TestSetThenGetReturnsTheSame(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	s := Open(dir)
	require.NoError(t, s.Set("default", sample))
	got, err := s.Get("default")
	require.NoError(t, err)
	require.True(t, got == sample)

	other := Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}
	require.NoError(t, s.Set("default", other), "a profile can be replaced")
	got, err = Open(dir).Get("default")
	require.NoError(t, err)
	require.True(t, got == other)

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")
	require.Equal(t, "default.bin", entries[0].Name())
}

func TestListIsSortedAndIgnoresOtherFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "credentials")
	s := Open(dir)
	profiles, err := s.List()
	require.NoError(t, err, "a directory that does not exist has no profiles")
	require.Empty(t, profiles)

	for _, name := range []string{"work", "default", "büro 2"} {
		require.NoError(t, s.Set(name, sample))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".new-123"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".bin"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder.bin"), 0o700))
	profiles, err = s.List()
	require.NoError(t, err)
	var names []string
	for _, p := range profiles {
		names = append(names, p.Name)
		require.WithinDuration(t, time.Now(), p.Changed, time.Minute)
	}
	require.Equal(t, []string{"büro 2", "default", "work"}, names)
}

func TestDeleteRemovesOneProfile(t *testing.T) {
	s := Open(t.TempDir())
	require.NoError(t, s.Set("a", sample))
	require.NoError(t, s.Set("b", sample))
	require.NoError(t, s.Delete("a"))
	_, err := s.Get("a")
	require.ErrorIs(t, err, ErrNotExist)
	require.ErrorIs(t, s.Delete("a"), ErrNotExist)
	_, err = s.Get("b")
	require.NoError(t, err)
}

func TestMissingProfileSaysHowToCreateIt(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir).Get("default")
	require.ErrorIs(t, err, ErrNotExist)
	require.Equal(t, `no such profile: "default" in `+dir+`: create it with pocket-creds set default`, err.Error())
}

func TestNamesThatCouldLeaveTheDirectoryAreRefused(t *testing.T) {
	s := Open(t.TempDir())
	for _, name := range []string{
		"", ".", "..", "../up", "a/b", `a\b`, "/etc/passwd", `C:\x`, "C:x", "x:stream", ".hidden", "-flag", " a", "a ", "a.",
		"NUL", "con", "com1", "LPT9.x", "COM¹", "nul .txt", "a\x00b", "a\nb", "a\x1b[31m", "\xff", "what?", strings.Repeat("n", 101),
	} {
		require.ErrorIs(t, CheckName(name), ErrInvalidName, "%q", name)
		_, err := s.Get(name)
		require.ErrorIs(t, err, ErrInvalidName, "%q", name)
		require.ErrorIs(t, s.Set(name, sample), ErrInvalidName, "%q", name)
		require.ErrorIs(t, s.Delete(name), ErrInvalidName, "%q", name)
		require.NotContains(t, CheckName(name).Error(), "\n")
	}
	for _, name := range []string{"default", "r2-backup", "a.b", "büro", "COM10", "console", "команда", "1"} {
		require.NoError(t, CheckName(name), "%q", name)
	}
}

func TestSetRefusesWhatCannotBeReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "credentials")
	s := Open(dir)
	for name, c := range map[string]Credentials{
		"no id":            {SecretAccessKey: "TOPSECRET"},
		"no secret":        {AccessKeyID: "id"},
		"newline in id":    {AccessKeyID: "id\nx", SecretAccessKey: "TOPSECRET"},
		"newline at end":   {AccessKeyID: "id", SecretAccessKey: "TOPSECRET\n"},
		"space in secret":  {AccessKeyID: "id", SecretAccessKey: "TOP SECRET"},
		"not UTF-8":        {AccessKeyID: "id", SecretAccessKey: "TOPSECRET\xff"},
		"endless":          {AccessKeyID: "id", SecretAccessKey: strings.Repeat("TOPSECRET", 200)},
		"terminal control": {AccessKeyID: "id\x1b[2J", SecretAccessKey: "TOPSECRET"},
	} {
		err := s.Set("default", c)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "TOP", name)
	}
	_, err := os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist, "nothing was written")
}

func TestSecretsDoNotShowThemselves(t *testing.T) {
	secret, id := sample.SecretAccessKey, sample.AccessKeyID
	holder := struct {
		Name string
		C    Credentials
		P    *Credentials
	}{"x", sample, &sample}
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&shown, verb+verb+verb, sample, &sample, holder)
	}
	fmt.Fprintln(&shown, sample, holder, errors.Join(fmt.Errorf("%v", sample)))
	for _, h := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(h).Info("use", "credentials", sample, "pointer", &sample, "holder", holder)
	}
	b, err := json.Marshal(holder)
	require.NoError(t, err)
	shown.Write(b)
	for _, leak := range []string{secret, id, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("%q", secret)} {
		require.NotContains(t, shown.String(), leak)
	}
	require.Equal(t, "access key AKIA... (secret not shown)", sample.String())
}

func TestDamagedProfileSaysSoAndNothingOfItsContent(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty":     "",
		"one-line":  "TOPSECRET",
		"no-secret": "id\n",
		"no-id":     "\nTOPSECRET",
		"binary":    "\x00\x01\nTOPSECRET\xff",
		"too-large": strings.Repeat("TOPSECRET", maxFile),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".bin"), []byte(content), 0o600))
		_, err := Open(dir).Get(name)
		require.ErrorIs(t, err, ErrDamaged, name)
		require.Contains(t, err.Error(), "pocket-creds set "+name)
		require.Contains(t, err.Error(), filepath.Join(dir, name+".bin"))
		require.NotContains(t, err.Error(), "TOP")
		require.NotContains(t, err.Error(), "\n")
		require.Equal(t, name == "empty", strings.Contains(err.Error(), "the file is empty"), name)
	}
}

func TestConcurrentSetsNeverMixProfiles(t *testing.T) {
	s := Open(t.TempDir())
	a := Credentials{AccessKeyID: "aaaa", SecretAccessKey: strings.Repeat("a", 40)}
	b := Credentials{AccessKeyID: "bbbb", SecretAccessKey: strings.Repeat("b", 40)}
	require.NoError(t, s.Set("p", a))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, c := range []Credentials{a, b} {
		wg.Go(func() {
			for range 20 {
				// Windows may refuse to replace a file that is open for reading; the
				// profile must be whole then too.
				if err := s.Set("p", c); err != nil && runtime.GOOS != "windows" {
					t.Error(err)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for {
		got, err := s.Get("p")
		if runtime.GOOS != "windows" {
			require.NoError(t, err)
		}
		if err == nil {
			require.True(t, got == a || got == b)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestProviderReadsTheProfileAnew(t *testing.T) {
	s := Open(t.TempDir())
	p := FromStore(s, "default")
	_, err := p(t.Context())
	require.ErrorIs(t, err, ErrNotExist)
	require.NoError(t, s.Set("default", sample))
	got, err := p(t.Context())
	require.NoError(t, err)
	require.True(t, got == sample)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p(ended)
	require.ErrorIs(t, err, context.Canceled)
}

func TestStaticProvidesWhatItWasGiven(t *testing.T) {
	got, err := Static(sample)(t.Context())
	require.NoError(t, err)
	require.True(t, got == sample)
	_, err = Static(Credentials{AccessKeyID: "id"})(t.Context())
	require.Error(t, err)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("id\nsecret"))
	f.Add([]byte("id\r\nsecret\r\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decode(b)
		if err != nil {
			return
		}
		again, err := decode(encode(c))
		if err != nil || again != c {
			t.Fatalf("accepted credentials do not survive being written: %v", err)
		}
	})
}
