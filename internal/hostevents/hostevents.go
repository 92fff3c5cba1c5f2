// Package hostevents tells a program that has no window what the system tells those that
// have one: that the user's session ends, and that the machine was asleep.
//
//	stop, err := hostevents.Watch(hostevents.Events{Ends: ..., Resumed: ...})
//	defer stop()
//
// The end of a session comes as a signal everywhere but on Windows, where it comes to windows
// alone: the console's signals for it do not reach programs that have loaded user32.dll.
package hostevents

import (
	"context"
	"sync"
	"time"
)

// Events are what is told. The functions are called one at a time; nil ones are not.
type Events struct {
	// Ends is called when the session is about to end, on Windows. The system ends the
	// process when the channel that it returns is closed, and after EndWait at the latest.
	Ends func(why string) (ended <-chan struct{})
	// Resumed is called after the machine was asleep, or its clock was set forward.
	Resumed func(slept time.Duration)
}

const (
	// EndWait is how long a process has from Ends to its end. Windows waits for five
	// seconds before it offers to end it by force:
	// https://learn.microsoft.com/windows/win32/shutdown/wm-endsession
	EndWait = 4500 * time.Millisecond

	clockTick = 5 * time.Second
	// sleptLeast is what the clock jumps at least when it is taken for sleep: a machine
	// under load may make a tick late, but both clocks then.
	sleptLeast = 5 * time.Second
)

// Watch tells events until stop is called, which waits for calls under way, except one of
// Ends. There can be one Watch at a time in a process. With an error the end of the session is not told;
// stop is to be called all the same.
func Watch(e Events) (stop func(), err error) {
	var calls sync.Mutex // held while a function of e is called
	resumed := func(slept time.Duration) {
		if e.Resumed != nil {
			calls.Lock()
			defer calls.Unlock()
			e.Resumed(slept)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var clock sync.WaitGroup
	clock.Go(func() {
		tick := time.NewTicker(clockTick)
		defer tick.Stop()
		watchClock(ctx, tick.C, readClock, resumed)
	})
	endWatch, err := watchSession(e.Ends)
	return func() {
		endWatch()
		cancel()
		clock.Wait()
	}, err
}

// clock is two readings of one moment: the time of day, and the time that the machine has run,
// sleep not counted. Go's monotonic clock is the latter on Linux, macOS and Windows.
type clock struct {
	day time.Time     // without a monotonic reading
	ran time.Duration // since some moment
}

var processStart = time.Now()

func readClock() clock {
	now := time.Now()
	return clock{day: now.Round(0), ran: now.Sub(processStart)}
}

// watchClock calls resumed when, between two ticks, more time of day has passed than the
// machine has run.
func watchClock(ctx context.Context, tick <-chan time.Time, read func() clock, resumed func(time.Duration)) {
	before := read()
	for {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		now := read()
		if slept := now.day.Sub(before.day) - (now.ran - before.ran); slept >= sleptLeast {
			resumed(slept)
		}
		before = now
	}
}
