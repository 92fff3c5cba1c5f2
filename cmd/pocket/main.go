// Command pocket mounts directories whose content is kept in a bucket.
package main

import (
	"os"

	"github.com/hamflx/pocket/internal/config"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, config.OSEnv()))
}
