package main

import (
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/hostevents"
)

// logLines is the stderr of a process whose stderr nobody sees: what it says is logged.
type logLines struct{ log *slog.Logger }

func (l logLines) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(strings.TrimPrefix(line, "pocket: ")); line != "" {
			l.log.Info("says: " + line)
		}
	}
	return len(text), nil
}

// sessionEnd is the end of the user's session, in words, as a signal.
type sessionEnd string

func (s sessionEnd) String() string { return string(s) }

// Signal implements os.Signal.
func (sessionEnd) Signal() {}

// watchHost follows what happens to the machine until the function that it returns is
// called: the end of the session is a signal, after which the system waits for ended; after
// a sleep the stores connect anew.
func (r *runner) watchHost(signals chan<- os.Signal, ended <-chan struct{}, stores interface{ Reconnect() }) (stop func()) {
	stop, err := hostevents.Watch(hostevents.Events{
		Ends: func(why string) <-chan struct{} {
			select {
			case signals <- sessionEnd(why):
			default: // it is full of them
			}
			return ended
		},
		Resumed: func(slept time.Duration) {
			r.log.Info("the machine was asleep", "for", slept.Round(time.Second))
			stores.Reconnect()
		},
	})
	if err != nil {
		r.log.Warn("a logoff will leave what is not uploaded in the journal", "error", err)
	}
	return stop
}

// tellSupervisor tells systemd how a service of type notify does, where this is one:
// https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
func (r *runner) tellSupervisor(env config.Env, state string) {
	address, _ := env.LookupEnv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	c, err := net.Dial("unixgram", address) // one that begins with @ is in Linux's abstract namespace
	if err == nil {
		_, err = c.Write([]byte(state))
		c.Close()
	}
	if err != nil {
		r.log.Warn("the supervisor cannot be told", "socket", address, "state", state, "error", err)
	}
}
