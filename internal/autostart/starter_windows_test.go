package autostart

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsNoProgramIsNotInstalled(t *testing.T) {
	self := filepath.Join(t.TempDir(), "pocket.exe")
	require.NoError(t, os.WriteFile(self, []byte("#!/bin/sh"), 0o600))
	s := &Site{Dir: t.TempDir()}
	_, err := s.Stage(self)
	require.ErrorContains(t, err, "copy "+self+" to "+s.Program()+": it is no program for Windows")
	require.Empty(t, installed(t, s))
}

// What the starter says of the process that it leaves.
func TestStarterThatStartsNothing(t *testing.T) {
	_, err := startStarter(t.Context(), filepath.Join(t.TempDir(), starterName), nil)
	require.ErrorContains(t, err, "start ")
	t.Setenv(asSleeper, "1")
	self, err := os.Executable()
	require.NoError(t, err)
	_, err = startStarter(t.Context(), self, nil) // it writes something else
	require.ErrorContains(t, err, "has started nothing")
}
