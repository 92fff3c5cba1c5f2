package loro

// Mode is the encoding mode of a blob.
type Mode uint16

// The modes this package reads and writes.
const (
	ModeSnapshot Mode = 3 // FastSnapshot: history and state, possibly shallow
	ModeUpdates  Mode = 4 // FastUpdates: changes only
)

// Meta describes a blob.
type Meta struct {
	Mode    Mode
	Shallow bool          // a snapshot whose history does not start at the beginning
	Start   VersionVector // per peer the first counter contained; 0 for peers from their beginning
	End     VersionVector // per peer the exclusive end of the counters contained
	// Frontiers: for a snapshot the heads of its history, for updates nil,
	// because they do not say.
	Frontiers Frontiers
	// ShallowRoot is the root of a shallow snapshot, else nil.
	ShallowRoot Frontiers
	Changes     int // number of changes contained
}

// Peek describes a blob without importing it. The envelope's checksum and the
// structure are verified, operations and state are not decoded.
//
// Errors: ErrInvalid (ErrChecksum, ErrUnsupportedMode).
func Peek(blob []byte) (Meta, error) { panic("not yet") }
