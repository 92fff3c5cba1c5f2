package loroindex

// ConflictName is the name under which the nth copy (from 1) of a content that lost
// against another device's is kept: "report (conflict laptop 2026-11-22 14.05.09).txt".
// device is the loser's, unix when the content was written, in seconds since 1970.
func ConflictName(name, device string, unix int64, nth int) string {
	return conflictName(name, device, unix, nth)
}
