package hostevents

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"
)

var (
	findWindow  = user32.NewProc("FindWindowW")
	sendMessage = user32.NewProc("SendMessageW")
)

// find returns the hidden window as the system would: among the top-level windows.
func find(t *testing.T) uintptr {
	t.Helper()
	class, err := windows.UTF16PtrFromString(className)
	require.NoError(t, err)
	window, _, err := findWindow.Call(uintptr(unsafe.Pointer(class)), 0)
	require.NotZero(t, window, "%v", err)
	return window
}

// The system's part, by the messages that it sends.
func TestEndOfTheSessionWaitsForTheEndOfTheWork(t *testing.T) {
	for _, c := range []struct {
		flags uintptr
		why   string
	}{{0, "the machine shuts down"}, {endSessionLogoff, "the user logs off"}} {
		begun, ended := make(chan string, 1), make(chan struct{})
		stop, err := Watch(Events{Ends: func(why string) <-chan struct{} {
			begun <- why
			return ended
		}})
		require.NoError(t, err)
		window := find(t)

		agreed, _, _ := sendMessage.Call(window, wmQueryEndSession, 0, c.flags)
		require.EqualValues(t, 1, agreed)
		sendMessage.Call(window, wmEndSession, 0, c.flags)
		require.Empty(t, begun, "a session that does not end after all")

		answered := make(chan struct{})
		go func() {
			sendMessage.Call(window, wmEndSession, 1, c.flags)
			close(answered)
		}()
		require.Equal(t, c.why, <-begun)
		select {
		case <-answered:
			t.Fatal("the system was not told to wait")
		case <-time.After(100 * time.Millisecond):
		}
		close(ended)
		<-answered
		stop()
	}
}

func TestEndOfTheSessionDoesNotWaitForEver(t *testing.T) {
	stop, err := Watch(Events{Ends: func(string) <-chan struct{} { return nil }})
	require.NoError(t, err)
	defer stop()
	began := time.Now()
	sendMessage.Call(find(t), wmEndSession, 1, 0)
	require.GreaterOrEqual(t, time.Since(began), EndWait-100*time.Millisecond)
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestOneWatchAtATime(t *testing.T) {
	stop, err := Watch(Events{Ends: func(string) <-chan struct{} { return nil }})
	require.NoError(t, err)
	stopOther, err := Watch(Events{Ends: func(string) <-chan struct{} { return nil }})
	require.Error(t, err)
	stopOther()
	stop()
}
