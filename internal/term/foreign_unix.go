//go:build unix

package term

// isForeign is Windows': see there.
func isForeign(any) bool { return false }
