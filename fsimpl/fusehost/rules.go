package fusehost

import (
	"math"

	"github.com/hamflx/pocket/fsimpl"
)

// rules are what libfuse and WinFsp, and the programs behind them, expect differently.
// Those of the platform are platformRules; tests take either.
type rules struct {
	// contextHasOwner: a request for a new file tells who asks. WinFsp's user is the number
	// of a SID, which means nothing on another machine; there, what is created belongs to the
	// mount's owner.
	contextHasOwner bool
	// keepsOldPaths: the path of a handle stays the one it was opened by, after renames too.
	// WinFsp sends times and attributes with it, and without the handle.
	keepsOldPaths bool
	// hidesUnlinked: an open file is renamed to a hidden name instead of being unlinked, and
	// that name is asked about like any other.
	hidesUnlinked bool
	// foldsCase: letter case does not tell names apart.
	foldsCase bool
	// mayLackLinks: where there is no symbolic link, readlink is not implemented. WinFsp then does not ask about
	// each element of each path.
	mayLackLinks bool
	// modesExist: permission bits and owners. On Windows every file has the descriptor of the mount's
	// option FileSecurity; the bits that other systems see stay as they are.
	modesExist bool
	// attributesBind: what has the attribute "read-only" is not opened for writing.
	attributesBind bool
	// readdirPlus: a listing has all that a look at each entry would tell, not kinds and inode
	// numbers alone.
	readdirPlus bool
	// readdirWhole: a listing is fetched in one call, not in parts by offsets.
	readdirWhole bool
	// notified: the system can be told of changes that no program of this machine made. On others it looks
	// again after a second.
	notified bool
	// earliest is the first time that can be set, in microseconds since 1970.
	earliest int64
}

var posixRules = rules{
	contextHasOwner: true,
	hidesUnlinked:   true,
	modesExist:      true,
	earliest:        math.MinInt64,
}

var windowsRules = rules{
	keepsOldPaths:  true,
	foldsCase:      true,
	mayLackLinks:   true,
	attributesBind: true,
	readdirPlus:    true,
	readdirWhole:   true,
	notified:       true,
	// 1601-01-02. Windows programs set times near its zero, 1601-01-01, to say "leave as it is".
	earliest: -11644387200_000000,
}

// platformRules are those of the system this runs on.
var platformRules = map[fsimpl.Rules]rules{fsimpl.POSIX: posixRules, fsimpl.Windows: windowsRules}[fsimpl.PlatformRules()]
