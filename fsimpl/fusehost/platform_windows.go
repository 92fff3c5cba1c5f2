package fusehost

// hideOf: WinFsp hides nothing.
func hideOf(string) hiding { return hidesNothing }

// writesBack: WinFsp knows no appending handles, only offsets.
func writesBack() bool { return false }
