package creds

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"
)

// TestKeyring runs the tests whose names begin with TestInKeyring in a D-Bus session of
// their own, with a GNOME keyring that is unlocked.
func TestKeyring(t *testing.T) {
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (scripts/setup.sh --tests does it)", program)
		}
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c",
		`printf password | gnome-keyring-daemon --unlock --components=secrets >"$HOME/said" 2>&1 || { cat "$HOME/said"; exit 1; }
		exec "$0" -test.v -test.run '^TestInKeyring'`, os.Args[0])
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + home, inKeyringSession + "=1"}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestInKeyringSetReplaceDelete")
	require.NotContains(t, string(out), "SKIP")
}

// The daemon outlives the session.
func init() {
	if os.Getenv(inKeyringSession) == "" {
		return
	}
	endKeyring = func() {
		var pid uint32
		bus, err := dbus.SessionBus()
		if err == nil {
			err = bus.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, secretService).Store(&pid)
		}
		if err == nil {
			err = syscall.Kill(int(pid), syscall.SIGTERM)
		}
		if err != nil {
			panic(err)
		}
	}
}

func needKeyring(t *testing.T) {
	if os.Getenv(inKeyringSession) == "" {
		t.Skip("runs in the session that TestKeyring starts")
	}
}

// entry returns what the keyring has of the profile in a file.
func entry(t *testing.T, file string) (account, secret string) {
	t.Helper()
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	account, ok := accountOf(body)
	require.True(t, ok, "%s", body)
	secret, err = keyring.Get(keyringService, account)
	require.NoError(t, err)
	return account, secret
}

func TestInKeyringSetReplaceDelete(t *testing.T) {
	needKeyring(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "default.bin")
	s := Open(dir)
	where, err := Keep(s, "default", sample)
	require.NoError(t, err)
	require.Equal(t, "it is in this user's keyring", where)
	first, secret := entry(t, file)
	require.Equal(t, string(encode(sample)), secret)
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(body), sample.AccessKeyID)
	require.NotContains(t, string(body), sample.SecretAccessKey)

	other := Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}
	require.NoError(t, s.Set("default", other))
	got, err := Open(dir).Get("default")
	require.NoError(t, err)
	require.True(t, got == other)
	_, err = keyring.Get(keyringService, first)
	require.ErrorIs(t, err, keyring.ErrNotFound, "the key that was replaced is gone")

	second, _ := entry(t, file)
	require.NoError(t, s.Delete("default"))
	_, err = keyring.Get(keyringService, second)
	require.ErrorIs(t, err, keyring.ErrNotFound)
	_, err = s.Get("default")
	require.ErrorIs(t, err, ErrNotExist)
}

func TestInKeyringConfigurationsDoNotShareProfiles(t *testing.T) {
	needKeyring(t)
	one, two := Open(t.TempDir()), Open(t.TempDir())
	other := Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}
	require.NoError(t, one.Set("default", sample))
	require.NoError(t, two.Set("default", other))
	got, err := one.Get("default")
	require.NoError(t, err)
	require.True(t, got == sample)
	require.NoError(t, two.Delete("default"))
	_, err = one.Get("default")
	require.NoError(t, err)
}

func TestInKeyringMovesFromFileAndBack(t *testing.T) {
	needKeyring(t)
	dir := t.TempDir()
	require.NoError(t, OpenIn(dir, InFile).Set("default", sample))
	for _, to := range []Place{InKeyring, InFile} {
		c, err := Open(dir).Get("default")
		require.NoError(t, err)
		var account string
		if to == InFile {
			account, _ = entry(t, filepath.Join(dir, "default.bin"))
		}
		_, err = Keep(OpenIn(dir, to), "default", c)
		require.NoError(t, err)
		profiles, err := Open(dir).List()
		require.NoError(t, err)
		require.Equal(t, to, profiles[0].Place)
		got, err := Open(dir).Get("default")
		require.NoError(t, err)
		require.True(t, got == sample)
		if account != "" {
			_, err = keyring.Get(keyringService, account)
			require.ErrorIs(t, err, keyring.ErrNotFound)
		}
	}
}

func TestInKeyringFailedSetLeavesNoEntry(t *testing.T) {
	needKeyring(t)
	dir := t.TempDir()
	// A directory in the profile's place makes the rename fail, for root too.
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "unwritable.bin", "x"), 0o700))
	require.Error(t, Open(dir).Set("unwritable", sample))
	bus, err := dbus.SessionBus()
	require.NoError(t, err)
	var unlocked, locked []dbus.ObjectPath
	require.NoError(t, bus.Object(secretService, "/org/freedesktop/secrets").Call("org.freedesktop.Secret.Service.SearchItems", 0,
		map[string]string{"service": keyringService}).Store(&unlocked, &locked))
	for _, item := range append(unlocked, locked...) {
		attributes, err := bus.Object(secretService, item).GetProperty("org.freedesktop.Secret.Item.Attributes")
		require.NoError(t, err)
		require.NotContains(t, attributes.Value().(map[string]string)["username"], "unwritable")
	}
}

func TestInKeyringMissingEntryAndForeignName(t *testing.T) {
	needKeyring(t)
	dir := t.TempDir()
	s := Open(dir)
	require.NoError(t, s.Set("default", sample))
	require.NoError(t, os.Rename(filepath.Join(dir, "default.bin"), filepath.Join(dir, "work.bin")))
	_, err := s.Get("work")
	require.ErrorIs(t, err, ErrDamaged)
	require.NoError(t, os.Rename(filepath.Join(dir, "work.bin"), filepath.Join(dir, "default.bin")))
	account, _ := entry(t, filepath.Join(dir, "default.bin"))
	require.NoError(t, keyring.Delete(keyringService, account))
	_, err = s.Get("default")
	require.ErrorIs(t, err, ErrForeign)
	require.Contains(t, err.Error(), "this user's keyring has no entry for it: make it anew with pocket-creds set default")
	require.NoError(t, s.Delete("default"), "what is gone already is no reason to keep the rest")
}

// Locked, with nobody to ask for the password: one clear line, after a bounded time.
func TestInKeyringLocked(t *testing.T) {
	needKeyring(t)
	dir := t.TempDir()
	s := Open(dir)
	require.NoError(t, s.Set("default", sample))
	bus, err := dbus.SessionBus()
	require.NoError(t, err)
	var locked []dbus.ObjectPath
	var prompt dbus.ObjectPath
	require.NoError(t, bus.Object(secretService, "/org/freedesktop/secrets").Call("org.freedesktop.Secret.Service.Lock", 0,
		[]dbus.ObjectPath{"/org/freedesktop/secrets/collection/login"}).Store(&locked, &prompt))
	require.Len(t, locked, 1)
	defer func(before time.Duration) { keyringWait = before }(keyringWait)
	keyringWait = 3 * time.Second

	profiles, err := s.List()
	require.NoError(t, err, "list does not need the keyring")
	shown, err := json.Marshal(profiles)
	require.NoError(t, err)
	require.Contains(t, string(shown), `"place":"keyring"`)

	_, err = s.Get("default")
	require.ErrorIs(t, err, ErrLocked)
	require.Contains(t, err.Error(), ": unlock it; pocket-creds set --keep-in file default keeps it in a file instead")
	require.NotContains(t, err.Error(), "\n")
	t.Log(err)
	err = s.Set("other", sample)
	require.ErrorIs(t, err, ErrLocked, "no secret goes into a file because the keyring is locked")
	require.NoFileExists(t, filepath.Join(dir, "other.bin"))
	t.Log(err)
}

func TestWithoutKeyringKeysAreInFilesAndItSaysWhy(t *testing.T) {
	dir := t.TempDir()
	for name, set := range map[string]func(t *testing.T){
		"POCKET_KEYRING is off":         func(t *testing.T) { t.Setenv(keyringVariable, "off") },
		"there is no D-Bus session":     func(t *testing.T) { t.Setenv("DBUS_SESSION_BUS_ADDRESS", "autolaunch:") },
		"no keyring: D-Bus: dial unix ": func(t *testing.T) { t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+filepath.Join(dir, "none")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(keyringVariable, "")
			set(t)
			where, err := Keep(Open(dir), "default", sample)
			require.NoError(t, err)
			require.Contains(t, where, "it is in a file that only this user may read (no keyring: ")
			require.Contains(t, where, name)
			err = OpenIn(dir, InKeyring).Set("default", sample)
			require.ErrorIs(t, err, ErrNoKeyring)
			require.True(t, strings.HasSuffix(err.Error(), ": pocket-creds set --keep-in file default keeps it in a file instead"), err.Error())

			require.NoError(t, os.WriteFile(filepath.Join(dir, "away.bin"), marker("away 1234"), 0o600))
			_, err = Open(dir).Get("away")
			require.ErrorIs(t, err, ErrNoKeyring)
			require.Contains(t, err.Error(), "its key is in a keyring: no keyring: ")
			require.NotContains(t, err.Error(), "\n")
		})
	}
}
