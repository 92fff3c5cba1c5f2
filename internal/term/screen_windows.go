package term

import "golang.org/x/sys/windows"

// allowEscapes makes a console understand escape sequences, which those of Windows 10 can
// and do not unless they are told, and returns what takes that back.
func allowEscapes(fd uintptr) (undo func(), err error) {
	h := windows.Handle(fd)
	var mode uint32
	if err := windows.GetConsoleMode(h, &mode); err != nil {
		return nil, err
	}
	if err := windows.SetConsoleMode(h, mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING); err != nil {
		return nil, err
	}
	return func() { windows.SetConsoleMode(h, mode) }, nil
}
