package statedir

import (
	"os"
	"path/filepath"
)

const dataVariable = "HOME"

// dataBase returns ~/Library/Application Support.
func dataBase() (base, variable string, err error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", dataVariable, err
	}
	return filepath.Join(home, "Library", "Application Support"), dataVariable, nil
}
