package fusehost

// hideOf: WinFsp hides nothing.
func hideOf(string) hiding { return hidesNothing }

// openedOutdated: WinFsp is told of what arrives, see notifier.
func openedOutdated() {}

func opener() int { return 0 }

// writesBack: WinFsp knows no appending handles, only offsets.
func writesBack() bool { return false }
