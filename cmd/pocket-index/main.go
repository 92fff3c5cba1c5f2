// Command pocket-index looks at the index of a mount, checks it and makes it
// small again.
package main

import (
	"os"

	"github.com/hamflx/pocket/internal/config"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, config.OSEnv()))
}
