package term

import (
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestFilesAndPipesAreNoTerminals(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	defer f.Close()
	for _, w := range []any{f, &bytes.Buffer{}, nil} {
		require.False(t, IsTerminal(w))
		require.Zero(t, Width(w))
	}
}

func TestPrintableShowsWhatATerminalWouldObey(t *testing.T) {
	for s, want := range map[string]string{
		"plain name.txt":        "plain name.txt",
		"día 日本 👩‍👩‍👧 e\u0301":  "día 日本 👩‍👩‍👧 e\u0301",
		"a\x1b[2Jb":             `a\x1b[2Jb`,
		"two\nlines\t":          `two\x0alines\x09`,
		"\x7f\u0085":            `\x7f\u0085`,
		"gpj.\u202eexe":         `gpj.\u202eexe`,
		"\u2028":                `\u2028`,
		"bad \xff\xfe":          `bad \xff\xfe`,
		"\U000e0041 tag":        `\U000e0041 tag`,
		"\ufeffmark":            `\ufeffmark`,
		"no-break\u00a0space 　": "no-break\u00a0space 　",
	} {
		require.Equal(t, want, Printable(s), "%q", s)
	}
}

func TestColumns(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "é": 1, "e\u0301": 1, "日本": 4, "한": 2, "ａ": 2, "🙂": 2, "…": 1, "я": 1} {
		require.Equal(t, want, Columns(s), s)
	}
}

func TestTruncate(t *testing.T) {
	require.Equal(t, "abc", Truncate("abc", 3))
	require.Equal(t, "ab…", Truncate("abcd", 3))
	require.Equal(t, "日…", Truncate("日本語", 4))
	require.Equal(t, "日…", Truncate("日本語", 3))
	require.Equal(t, "…", Truncate("日本語", 1))
	require.Equal(t, "", Truncate("abc", 0))
}

func FuzzTruncateFits(f *testing.F) {
	f.Add("日本語 e\u0301 abc", 5)
	f.Add("\xff\x00", 1)
	f.Fuzz(func(t *testing.T, s string, width int) {
		if got := Columns(Truncate(s, width)); got > max(width, 0) {
			t.Fatalf("%d columns in %d", got, width)
		}
		p := Printable(s)
		if !utf8.ValidString(p) || strings.ContainsAny(p, "\x00\x1b\n\r\x7f") || Printable(p) != p {
			t.Fatalf("not printable: %q", p)
		}
	})
}

func TestTableAlignsColumns(t *testing.T) {
	require.Equal(t, ""+
		"NAME    PENDING  STATE\n"+
		"ssh          12  uploading\n"+
		"日本語     9999\n"+
		"x             1  offline\n",
		Table([][]string{{"NAME", "PENDING", "STATE"}, {"ssh", "12", "uploading"}, {"日本語", "9999", ""}, {"x", "1", "offline"}}, 1))
	require.Equal(t, "", Table(nil))
	require.Equal(t, "a\nbb  c\n", Table([][]string{{"a"}, {"bb", "c"}}, 7))
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 1047000: "1022.5 KiB",
		3355443: "3.2 MiB", 1 << 40: "1.0 TiB", math.MaxInt64: "8.0 EiB", -2048: "-2.0 KiB",
	} {
		require.Equal(t, want, Size(n), n)
	}
	require.Equal(t, "3.2 of 9.1 MiB", SizeOf(3355443, 9542041))
	require.Equal(t, " 0.0 of 12.5 GiB", SizeOf(0, 13421772800))
	require.Equal(t, "  7 of 512 B", SizeOf(7, 512))
	require.Equal(t, "2.0 of 1.0 MiB", SizeOf(2<<20, 1<<20))
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "00:00", -time.Hour: "00:00", 12 * time.Second: "00:12", 59600 * time.Millisecond: "01:00", 59*time.Minute + 59*time.Second: "59:59",
		time.Hour + 2*time.Minute + 3*time.Second: "1:02:03", 100 * time.Hour: "100:00:00",
	} {
		require.Equal(t, want, Clock(d))
	}
}

func TestInputFromAPipeReadsALineForEachQuestion(t *testing.T) {
	var prompts bytes.Buffer
	in := NewInput(strings.NewReader("id \r\nsecret\n\nlast"), &prompts)
	line, err := in.Line("Id: ")
	require.NoError(t, err)
	require.Equal(t, "id", line)
	line, err = in.Secret("Secret: ")
	require.NoError(t, err)
	require.Equal(t, "secret", line)
	line, err = in.Line("")
	require.NoError(t, err)
	require.Equal(t, "", line)
	line, err = in.Line("")
	require.NoError(t, err)
	require.Equal(t, "last", line)
	_, err = in.Secret("")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Empty(t, prompts.String(), "nobody reads prompts there")

	in = NewInput(strings.NewReader("\ufeffid\r\n\ufeffx\n"), &prompts) // from PowerShell
	line, err = in.Line("")
	require.NoError(t, err)
	require.Equal(t, "id", line)
	line, err = in.Line("")
	require.NoError(t, err)
	require.Equal(t, "\ufeffx", line)

	_, err = NewInput(strings.NewReader(strings.Repeat("x", 1<<20)), &prompts).Line("")
	require.Error(t, err)
}
