//go:build !windows

package busyfile

import "os"

// Retry calls do, again for as long as another program keeps it from its file, and returns its last error.
func Retry(do func() error) error { return do() }

func open(name string) (*os.File, error) { return os.Open(name) }
