package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// memoryGoal bounds the memory of the process, which holds parts of files only:
	// in bytes, soft. The C libraries' threads and the program itself come on top.
	memoryGoal = 120 << 20
	// memoryRoom is what the collector has at least above what is in use: with less it
	// would do nothing but collect. An index of a million files needs more than the goal.
	memoryRoom = 40 << 20
)

// limitMemory keeps the collector near memoryGoal for as long as the process runs.
// GOMEMLIMIT takes its place.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(memoryGoal)
	(&memoryLimit{limit: memoryGoal, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}).follow()
}

// memoryLimit follows what is in use. It does so after every collection: while a large
// index is opened the memory in use passes the goal within a fraction of a second, and
// every moment in which the limit lags behind is spent collecting.
type memoryLimit struct {
	limit int64
	live  []metrics.Sample // what the last collection found in use
}

// follow sets the limit anew after the next collection, and again after each one
// that follows: what is collected is an object made for this.
func (m *memoryLimit) follow() {
	runtime.AddCleanup(new([4]*byte), func(m *memoryLimit) {
		metrics.Read(m.live)
		if want := max(memoryGoal, int64(m.live[0].Value.Uint64())+memoryRoom); want != m.limit {
			m.limit = want
			debug.SetMemoryLimit(want)
		}
		m.follow()
	}, m)
}
