//go:build unix && !darwin

package statedir

import (
	"os"
	"path/filepath"
)

const dataVariable = "XDG_DATA_HOME"

// dataBase returns $XDG_DATA_HOME or its default. The XDG base directory
// specification (https://specifications.freedesktop.org/basedir-spec) has
// relative values ignored.
func dataBase() (base, variable string, err error) {
	if base := os.Getenv(dataVariable); filepath.IsAbs(base) {
		return base, dataVariable, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", dataVariable, err
	}
	return filepath.Join(home, ".local", "share"), dataVariable, nil
}
