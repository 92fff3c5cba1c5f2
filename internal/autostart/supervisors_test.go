//go:build unix

package autostart

import (
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// awkward is a path in which everything is that needs a quote.
const awkward = "/home/a b/50%/$HOME/\"q\"\\<&>/pocket"

func TestUnitIsOneThatSystemdTakes(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "with space", "50% $x", "pocket")
	copyFile(t, "/bin/true", program)
	s := systemd{env: []string{"XDG_DATA_HOME=/data dir/50%"}}
	text, err := s.Text(program, []string{"--config", awkward})
	require.NoError(t, err)
	unit := filepath.Join(dir, unitName)
	require.NoError(t, os.WriteFile(unit, []byte(text), 0o644))
	cmd := exec.Command(verify, "--user", "--man=no", "verify", unit)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.Empty(t, string(said))
}

func TestUnitQuotesWhatSystemdWouldExpand(t *testing.T) {
	text, err := systemd{env: []string{"XDG_DATA_HOME=/$d"}}.Text("/bin/pocket", []string{"--config", awkward})
	require.NoError(t, err)
	require.Contains(t, text, `ExecStart="/bin/pocket" "--config" "/home/a b/50%%/$$HOME/\"q\"\\<&>/pocket"`+"\n")
	require.Contains(t, text, `ExecStop=-"/bin/pocket" stop --pid $MAINPID --timeout 1m`+"\n")
	require.Contains(t, text, `Environment="XDG_DATA_HOME=/$d"`+"\n")
}

func TestAgentIsXMLWithTheArguments(t *testing.T) {
	text, err := launchd{env: []string{"POCKET_KEYRING=off"}}.Text(awkward, []string{"--config", "/c d"})
	require.NoError(t, err)
	var words []string
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if chars, ok := token.(xml.CharData); ok && strings.TrimSpace(string(chars)) != "" {
			words = append(words, string(chars))
		}
	}
	require.Equal(t, []string{"Label", agentLabel, "ProgramArguments", awkward, "--config", "/c d", "EnvironmentVariables", "POCKET_KEYRING", "off",
		"RunAtLoad", "KeepAlive", "SuccessfulExit", "ThrottleInterval", "10", "ExitTimeOut", "90"}, words)
}

// There is no launchd here: the program that stands for launchctl notes how it is called.
func TestAgentIsLoadedAndUnloaded(t *testing.T) {
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "launchctl"), []byte(`#!/bin/sh
echo "$@" >>"`+calls+`"
case $1 in
bootstrap) touch "`+dir+`/loaded" ;;
bootout) rm "`+dir+`/loaded" ;;
print) [ -e "`+dir+`/loaded" ] || { echo "Could not find service"; exit 113; }; printf 'gui/501/x = {\n\tstate = running\n\tpid = `+"%d"+`\n}\n' $PPID ;;
esac
`), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	l := launchd{file: filepath.Join(dir, "LaunchAgents", agentLabel+".plist"), uid: 501}
	_, ok, err := l.Load()
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, l.Remove(t.Context()), "nothing there")

	text, err := l.Text("/p", nil)
	require.NoError(t, err)
	require.NoError(t, l.Save(t.Context(), text))
	started, err := l.Start(t.Context(), "/p", nil)
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), started.PID)
	require.True(t, started.Alive())
	kept, ok, err := l.Load()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, text, kept)
	require.NoError(t, l.Remove(t.Context()))
	require.NoFileExists(t, l.file)
	said, err := os.ReadFile(calls)
	require.NoError(t, err)
	require.Equal(t, []string{
		"print gui/501/dev.hamflx.pocket",
		"bootstrap gui/501 " + l.file, "print gui/501/dev.hamflx.pocket",
		"print gui/501/dev.hamflx.pocket", "bootout gui/501/dev.hamflx.pocket",
	}, strings.Split(strings.TrimSpace(string(said)), "\n"))
}
