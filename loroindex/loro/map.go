package loro

import "iter"

// Map is a handle to a map container: a set of keys, each a last-writer-wins
// register decided by [IDLP]. It is cheap to copy and stays valid for the life
// of the document.
type Map struct {
	d *Doc
}

// ID names the container.
func (m Map) ID() ContainerID { panic("not yet") }

// Get returns the value of a key. A child container is returned as a container
// value; see [Doc.MapOf].
func (m Map) Get(key string) (Value, bool) { panic("not yet") }

// Set writes a key. Like the official library it records nothing when the key
// already holds an equal value.
//
// Errors: ErrValue, ErrNotAttached, ErrLimit.
func (m Map) Set(key string, v Value) error { panic("not yet") }

// SetMap writes a new, empty child map to a key and returns a handle to it.
// Two replicas that do this concurrently make two maps, of which one is hidden.
//
// Errors: ErrNotAttached, ErrLimit.
func (m Map) SetMap(key string) (Map, error) { panic("not yet") }

// Delete removes a key; a key that is absent records nothing.
//
// Errors: ErrNotAttached, ErrLimit.
func (m Map) Delete(key string) error { panic("not yet") }

// Len is the number of keys.
func (m Map) Len() int { panic("not yet") }

// All iterates over keys and values in the order of the keys' UTF-8 bytes. The
// document must not change meanwhile.
func (m Map) All() iter.Seq2[string, Value] { panic("not yet") }

// Register is the stored state of a map key.
type Register struct {
	IDLP    IDLP // of the operation that wrote it
	Deleted bool // the key was deleted; deletions are remembered for ever
	Value   Value
}

// Register returns the state of a key, a deleted one included. It is false for
// a key never written.
func (m Map) Register(key string) (Register, bool) { panic("not yet") }
