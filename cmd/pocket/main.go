// Command pocket mounts directories whose content is kept in a bucket.
package main

import (
	"os"

	"github.com/hamflx/pocket/internal/config"
)

// What Windows reads of pocket.exe before it runs:
//go:generate go run github.com/tc-hib/go-winres@v0.3.3 make --in winres.json --arch amd64,arm64

func main() {
	if code, ran := openConsole(os.Args[1:]); ran {
		os.Exit(code)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, config.OSEnv()))
}
