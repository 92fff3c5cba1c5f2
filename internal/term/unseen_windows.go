package term

import "golang.org/x/sys/windows"

// Unseen reports whether nobody can see what is written to an *os.File: there is none, as
// in a program without a console, or it is the null device. A console, a pipe and a file are
// seen, and so is whatever is no *os.File.
func Unseen(w any) bool {
	f, ok := w.(file)
	if !ok {
		return false
	}
	kind, err := windows.GetFileType(windows.Handle(f.Fd()))
	switch {
	case err != nil || kind == windows.FILE_TYPE_UNKNOWN:
		return true
	case kind == windows.FILE_TYPE_CHAR:
		var mode uint32
		return windows.GetConsoleMode(windows.Handle(f.Fd()), &mode) != nil
	}
	return false
}
