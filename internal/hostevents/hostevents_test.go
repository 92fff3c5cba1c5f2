package hostevents

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSleepIsTimeOfDayThatTheMachineHasNotRun(t *testing.T) {
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name     string
		day, ran time.Duration // that pass between two ticks
		slept    time.Duration // 0: nothing is told
	}{
		{"a tick", 5 * time.Second, 5 * time.Second, 0},
		{"a late tick", 5 * time.Minute, 5 * time.Minute, 0},
		{"the clock is set back", -time.Hour, 5 * time.Second, 0},
		{"the clock is corrected", 6 * time.Second, 5 * time.Second, 0},
		{"a night", 8 * time.Hour, 2 * time.Second, 8*time.Hour - 2*time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			readings := make(chan clock, 3)
			readings <- clock{day: start}
			readings <- clock{day: start.Add(c.day), ran: c.ran}
			readings <- clock{day: start.Add(c.day + 5*time.Second), ran: c.ran + 5*time.Second}
			tick, ended := make(chan time.Time), make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			var told []time.Duration
			go func() {
				defer close(ended)
				watchClock(ctx, tick, func() clock { return <-readings }, func(d time.Duration) { told = append(told, d) })
			}()
			tick <- time.Time{}
			tick <- time.Time{}
			cancel()
			<-ended
			if c.slept == 0 {
				require.Empty(t, told)
			} else {
				require.Equal(t, []time.Duration{c.slept}, told, "once")
			}
		})
	}
}

func TestWatchEndsAndCanBeginAgain(t *testing.T) {
	for range 3 {
		stop, err := Watch(Events{
			Ends:    func(string) <-chan struct{} { t.Error("the session does not end"); return nil },
			Resumed: func(time.Duration) {},
		})
		require.NoError(t, err)
		stop()
	}
}
