package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// memoryGoal bounds the memory of the process, which holds parts of files only:
	// in bytes, soft. The C libraries' threads and the program itself come on top.
	memoryGoal = 120 << 20
	// memoryRoom is what the collector has at least above what is in use: with less it
	// would do nothing but collect. An index of a million files needs more than the goal.
	memoryRoom = 48 << 20
	// memoryCheck is how often the limit follows what is in use.
	memoryCheck = 5 * time.Second
)

// limitMemory keeps the collector near memoryGoal for as long as the process runs.
// GOMEMLIMIT takes its place.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(memoryGoal)
	go func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		limit := int64(memoryGoal)
		for range time.Tick(memoryCheck) {
			metrics.Read(live)
			if want := max(memoryGoal, int64(live[0].Value.Uint64())+memoryRoom); want != limit {
				limit = want
				debug.SetMemoryLimit(limit)
			}
		}
	}()
}
