//go:build !linux

package chunkcache

// writeFileDirect is left to the page cache here.
func writeFileDirect(string, []byte) error { return errNoDirect }
