package hostevents

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	user32   = windows.NewLazySystemDLL("user32.dll")
	kernel32 = windows.NewLazySystemDLL("kernel32.dll")

	registerClassEx = user32.NewProc("RegisterClassExW")
	unregisterClass = user32.NewProc("UnregisterClassW")
	createWindowEx  = user32.NewProc("CreateWindowExW")
	destroyWindow   = user32.NewProc("DestroyWindow")
	defWindowProc   = user32.NewProc("DefWindowProcW")
	getMessage      = user32.NewProc("GetMessageW")
	dispatchMessage = user32.NewProc("DispatchMessageW")
	postMessage     = user32.NewProc("PostMessageW")
	postQuitMessage = user32.NewProc("PostQuitMessage")

	setProcessShutdownParameters = kernel32.NewProc("SetProcessShutdownParameters")
	getModuleHandle              = kernel32.NewProc("GetModuleHandleW")
)

// From winuser.h.
const (
	wmDestroy         = 0x0002
	wmClose           = 0x0010
	wmQueryEndSession = 0x0011
	wmEndSession      = 0x0016

	endSessionLogoff = 0x80000000

	wsPopup        = 0x80000000
	wsExToolWindow = 0x00000080 // in no list of windows
)

// className is of the hidden window.
const className = "hamflx.pocket.session"

// shutdownLevel is when in the order of processes this one is told of the end: after the
// programs that may still write into mounts (0x280 unless they say otherwise), and in the
// range for applications.
const shutdownLevel = 0x100

// wndClassEx is WNDCLASSEXW.
type wndClassEx struct {
	size, style            uint32
	wndProc                uintptr
	clsExtra, wndExtra     int32
	instance, icon, cursor uintptr
	background             uintptr
	menuName, class        *uint16
	iconSm                 uintptr
}

// msg is MSG.
type msg struct {
	window         uintptr
	message        uint32
	wParam, lParam uintptr
	time           uint32
	x, y           int32
	private        uint32
}

var (
	// procedure is windowProc for the system. It cannot be freed.
	procedure = sync.OnceValue(func() uintptr { return windows.NewCallback(windowProc) })

	watching sync.Mutex // held while there is a window
	// told is called by the window; written before the window is made. Guarded by watching.
	told func(why string) <-chan struct{}
	// ending is set while the system waits for the end of what told has begun.
	ending atomic.Bool
)

// watchSession makes a hidden top-level window: one for messages alone is not told of the end
// of the session.
func watchSession(ends func(string) <-chan struct{}) (stop func(), err error) {
	if ends == nil {
		return func() {}, nil
	}
	if !watching.TryLock() {
		return func() {}, errors.New("the end of the session is watched already")
	}
	told = ends
	made := make(chan error)
	gone := make(chan struct{})
	var window uintptr
	go func() {
		defer close(gone)
		// A window belongs to the thread that made it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var err error
		window, err = makeWindow()
		made <- err
		if err == nil {
			pump()
		}
	}()
	if err := <-made; err != nil {
		<-gone
		watching.Unlock()
		return func() {}, fmt.Errorf("the end of the session cannot be watched: %w", err)
	}
	setProcessShutdownParameters.Call(shutdownLevel, 0) // where it fails, this is told earlier
	return func() {
		// The system waits for the end of the process: the window stays until then.
		if ending.Load() {
			return
		}
		if ok, _, _ := postMessage.Call(window, wmClose, 0, 0); ok == 0 {
			return
		}
		select {
		case <-gone:
			watching.Unlock()
		case <-time.After(EndWait):
		}
	}, nil
}

func makeWindow() (uintptr, error) {
	for _, p := range []*windows.LazyProc{registerClassEx, createWindowEx, getMessage, getModuleHandle} {
		if err := p.Find(); err != nil {
			return 0, err // Server Core and Nano Server have no windows
		}
	}
	class, err := windows.UTF16PtrFromString(className)
	if err != nil {
		return 0, err
	}
	title, err := windows.UTF16PtrFromString("Pocket")
	if err != nil {
		return 0, err
	}
	instance, _, _ := getModuleHandle.Call(0)
	c := wndClassEx{wndProc: procedure(), instance: instance, class: class}
	c.size = uint32(unsafe.Sizeof(c))
	if atom, _, err := registerClassEx.Call(uintptr(unsafe.Pointer(&c))); atom == 0 {
		return 0, err
	}
	window, _, err := createWindowEx.Call(wsExToolWindow, uintptr(unsafe.Pointer(class)), uintptr(unsafe.Pointer(title)), wsPopup,
		0, 0, 0, 0, 0, 0, instance, 0)
	if window == 0 {
		unregisterClass.Call(uintptr(unsafe.Pointer(class)), instance)
		return 0, err
	}
	return window, nil
}

// pump handles messages until the window is gone.
func pump() {
	var m msg
	for {
		// 0 is the end, -1 an error.
		if got, _, _ := getMessage.Call(uintptr(unsafe.Pointer(&m)), 0, 0, 0); int32(got) <= 0 {
			break
		}
		dispatchMessage.Call(uintptr(unsafe.Pointer(&m)))
	}
	class, err := windows.UTF16PtrFromString(className)
	if err == nil {
		instance, _, _ := getModuleHandle.Call(0)
		unregisterClass.Call(uintptr(unsafe.Pointer(class)), instance)
	}
}

// windowProc answers the messages of the window.
func windowProc(window uintptr, message uint32, wParam, lParam uintptr) uintptr {
	switch message {
	case wmQueryEndSession:
		return 1 // nothing here speaks against it
	case wmEndSession:
		if wParam == 0 {
			return 0 // somebody else spoke against it
		}
		why := "the machine shuts down"
		if lParam&endSessionLogoff != 0 {
			why = "the user logs off"
		}
		ending.Store(true)
		defer ending.Store(false)
		select {
		case <-told(why):
		case <-time.After(EndWait):
		}
		return 0
	case wmClose:
		destroyWindow.Call(window)
		return 0
	case wmDestroy:
		postQuitMessage.Call(0)
		return 0
	}
	answer, _, _ := defWindowProc.Call(window, uintptr(message), wParam, lParam)
	return answer
}
