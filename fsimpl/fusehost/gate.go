package fusehost

import (
	"sync"
	"sync/atomic"
)

// gate counts the callbacks that are running and lets none in once it is shut, so
// that the file system can be closed although programs still have files open.
type gate struct {
	state atomic.Int64 // callbacks that are running, plus shutAt once it is shut
	once  sync.Once
	empty chan struct{} // closed when the gate is shut and no callback is left
}

const shutAt = -1 << 62

func newGate() *gate { return &gate{empty: make(chan struct{})} }

// enter begins a callback. It reports false when it must not run; then leave is
// not called.
func (g *gate) enter() bool {
	if g.state.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

// leave ends a callback.
func (g *gate) leave() {
	if g.state.Add(-1) == shutAt {
		g.once.Do(func() { close(g.empty) })
	}
}

// shut lets nothing in any more; g.empty tells when all are out. It is called once.
func (g *gate) shut() {
	if g.state.Add(shutAt) == shutAt {
		g.once.Do(func() { close(g.empty) })
	}
}
