package loroindex

// Tx changes the tree within one Update. Each method either applies whole or
// returns an error and applies nothing. When the function given to Update
// returns an error, everything its Tx applied is taken back.
type Tx struct{}

// Lookup is [Index.Lookup] as of the changes made so far.
func (t *Tx) Lookup(parent Node, name string) (Entry, error) { panic("not yet") }

// Stat is [Index.Stat] as of the changes made so far.
func (t *Tx) Stat(n Node) (Entry, error) { panic("not yet") }

// Create makes a node. Created and ModTime 0 mean now; Changed is set to now.
//
// Errors: ErrExist, ErrNotDir, ErrName, ErrNameLong, ErrRemoved, ErrInvalid.
func (t *Tx) Create(parent Node, name string, info Info, c Content) (Node, error) { panic("not yet") }

// Remove takes a node out of its directory. The node can still be named, and
// Stat tells that it is removed.
//
// Errors: ErrNotEmpty, ErrRemoved, ErrInvalid for Root.
func (t *Tx) Remove(n Node) error { panic("not yet") }

// Rename moves a node to newName in newParent, by the rules of POSIX rename: an
// existing file is replaced by a file, an existing empty directory by a
// directory, and when both names are the same node nothing happens. Without
// replace an existing entry is ErrExist, also when both are the same node under
// another name. It returns the node that was replaced, or NoNode.
//
// Errors: ErrExist, ErrIsDir (the target is a directory, the node is not),
// ErrNotDir (the node is a directory, the target is not; or newParent is not),
// ErrNotEmpty, ErrInvalid (into itself, Root), ErrName, ErrNameLong, ErrRemoved.
func (t *Tx) Rename(n, newParent Node, newName string, replace bool) (replaced Node, err error) {
	panic("not yet")
}

// Exchange swaps two nodes' places and names.
//
// Errors: ErrInvalid (one inside the other, Root), ErrRemoved.
func (t *Tx) Exchange(a, b Node) error { panic("not yet") }

// SetContent replaces size, modification time and object at once. On a
// directory only ModTime counts.
//
// Errors: ErrRemoved, ErrInvalid (negative size).
func (t *Tx) SetContent(n Node, c Content) error { panic("not yet") }

// SetModTime changes the modification time alone.
//
// Errors: ErrRemoved.
func (t *Tx) SetModTime(n Node, us int64) error { panic("not yet") }

// SetInfo replaces the rarely changing facts. Kind must stay.
//
// Errors: ErrRemoved, ErrInvalid (another kind).
func (t *Tx) SetInfo(n Node, info Info) error { panic("not yet") }

// Rescue brings back a node that an [Orphan] names: it moves to the nearest
// living ancestor, keeping its name.
//
// Errors: ErrInvalid when the node is neither removed nor hidden.
func (t *Tx) Rescue(n Node) error { panic("not yet") }
