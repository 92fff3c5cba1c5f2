//go:build !linux

package s3test

// HoldPort returns an address on this machine for a server, which others may get while it does not listen.
func HoldPort() (addr string, free func(), err error) { return "127.0.0.1:0", func() {}, nil }
