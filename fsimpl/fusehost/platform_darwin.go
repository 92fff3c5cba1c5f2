package fusehost

// hideOf takes every such name for one of libfuse's. BUG: what libfuse unlinks to make
// room for a rename is not told from what a program unlinks, so that a crash between the two
// steps of replacing an open file loses the old one; libfuse_linux.c has the better way.
func hideOf(string) hiding { return hidesUnlinked }

// openedOutdated: BUG: of a file that became longer on another machine, who asked for its size within the
// last second reads no more than that; libfuse_linux.c has the better way.
func openedOutdated() {}

func opener() int { return 0 }

// writesBack: BUG: a page of a shared mapping that is written back through an
// appending handle is appended.
func writesBack() bool { return false }
