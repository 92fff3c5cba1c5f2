// Command pocket-creds keeps access keys for pocket, encrypted where the system can, in
// profiles that config.toml names.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
