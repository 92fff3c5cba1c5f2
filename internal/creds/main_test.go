package creds

import (
	"os"
	"testing"
)

// inKeyringSession is set in the process that TestKeyring starts.
const inKeyringSession = "POCKET_CREDS_TEST_KEYRING"

// endKeyring ends the keyring of the session that TestKeyring starts.
var endKeyring = func() {}

// The keyring of whoever runs the tests is not for them.
func TestMain(m *testing.M) {
	if os.Getenv(inKeyringSession) == "" {
		os.Setenv(keyringVariable, "off")
	}
	code := m.Run()
	endKeyring()
	os.Exit(code)
}
