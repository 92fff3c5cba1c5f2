//go:build !windows

package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// stopSignals are what stops pocket.
func stopSignals() []os.Signal {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	// A background job of a shell is suspended when it reads the terminal, and then
	// nobody serves its mounts. Ignored, the signals become errors of the read and the write.
	// The same for output whose reader has gone (a pipe to head), which would end the process.
	signal.Ignore(syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGPIPE)
	return signals
}

// hurry is how long there is to upload after a signal; 0 means as long as it takes.
func hurry(os.Signal) time.Duration { return 0 }
