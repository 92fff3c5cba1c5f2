// Package bootid names the time since the machine started.
//
// What a process wrote to a file is there after its end, however it ended, as long as the machine
// runs: the system has it. After a power loss, or another crash of the system, only what was synced
// is. Whoever notes the id with what is written can tell these apart later.
package bootid

// Get returns an id that stays the same until the machine starts the next time and never comes
// again, in containers too; "" where the system has none. Sleep does not change it.
func Get() string { return get() }
