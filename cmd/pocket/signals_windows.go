package main

import (
	"os"
	"syscall"
	"time"
)

// stopSignals are what stops pocket: Ctrl-C and Ctrl-Break, and SIGTERM, which stands for
// a console that is closed. A logoff and a shutdown are a sessionEnd.
func stopSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// hurry is how long there is to upload after a signal; 0 means as long as it takes.
// Windows ends a process five seconds after its console was closed or its session ended.
func hurry(s os.Signal) time.Duration {
	if _, over := s.(sessionEnd); over || s == syscall.SIGTERM {
		return 2 * time.Second
	}
	return 0
}
