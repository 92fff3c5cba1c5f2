//go:build unix && !linux

package aside

func renameNew(from, to string) error { return renameChecked(from, to) }

// mountBelow would return what is mounted below a directory; a mount that is carried
// along works on.
func mountBelow(string) string { return "" }
