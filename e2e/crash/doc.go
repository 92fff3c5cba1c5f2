// Package crash tests what survives when a process or a machine stops at any
// moment.
//
// A process of its own runs the real file system (package fsimpl, with the real
// journal, cache and S3 client) in a state directory on a [disk]: a FUSE file
// system of this package that notes every write, sync, rename and removal in the
// order in which they happen. The same list gets what the workload was
// acknowledged and what arrived in the store. Afterwards the list is replayed up to
// any moment, and from there the disk is what kill -9 leaves (everything that was
// written) or what a power loss leaves (what was synced, and any part of the rest).
// The file system is opened on that, and must keep every promise of
// docs/design.md.
//
//	go test ./e2e/crash -crash.traces 100 -crash.cuts 500
//
// records more workloads and tries more crashes of each; -crash.seed repeats one.
package crash
