//go:build !windows

package fusehost

import "math"

const (
	contextHasOwner = true          // libfuse tells who asks for a new file
	keepsOldPaths   = false         // libfuse learns of renames
	linksExist      = true          // symbolic links
	modesExist      = true          // permission bits and owners
	readdirPlus     = false         // a listing has kinds and inode numbers alone
	readdirWhole    = false         // a listing is asked for in parts, by offsets
	earliest        = math.MinInt64 // time that can be set, in microseconds since 1970
)
