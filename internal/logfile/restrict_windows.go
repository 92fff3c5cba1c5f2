package logfile

import "os"

// restrict does nothing: a file below the user's profile is the user's by inheritance.
func restrict(*os.File) {}
