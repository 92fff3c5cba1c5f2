package fusehost

const (
	// In a request for a new file WinFsp's user is the number of a SID, which means
	// nothing on another machine; what is created belongs to the mount's owner.
	contextHasOwner = false
	// WinFsp never updates the path of a handle: times and attributes come with the
	// one it was opened by.
	keepsOldPaths = true
	// Until links are shown as reparse points: with ENOSYS, WinFsp does not ask about
	// each element of each path.
	linksExist = false
	// Every file has the descriptor of the mount's option FileSecurity; the bits that
	// other systems see stay as they are.
	modesExist = false
	// A listing has all that a look at each entry would tell.
	readdirPlus = true
	// WinFsp fetches a listing in one call.
	readdirWhole = true
	// 1601-01-02 in microseconds since 1970. Windows programs set times near its zero, 1601-01-01,
	// to say "leave as it is".
	earliest = -11644387200_000000
)

// hideOf: WinFsp hides nothing.
func hideOf(string) hiding { return hidesNothing }

// writesBack: WinFsp knows no appending handles, only offsets.
func writesBack() bool { return false }
