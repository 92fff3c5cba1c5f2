// Package control is the channel between a running pocket and the commands that ask
// it: status, wait, stop.
//
//	server, err := control.Listen(dataDir, about, service, log) // in pocket
//	running, err := control.Find(ctx, dataDir)                  // in a command
//	status, err := running[0].Status(ctx, control.All)
//
// Several processes may run at once. Each has a record in the directory run of the
// data directory, which names a socket (a named pipe on Windows) that only the same user can
// use. Over it HTTP is spoken, in the version of the protocol that the path begins with:
//
//	GET  /v1/status?files=N          a Status as JSON
//	POST /v1/wait?mount=NAME         Events as JSON, one a line, until all is in the store
//	POST /v1/stop?upload_for=30s     Events as JSON, one a line, until the mounts have ended
//
// Whatever comes over the socket is bounded in size and time on both ends.
package control

import (
	"context"
	"errors"
	"time"
)

// Status is how a process and its mounts do.
type Status struct {
	PID      int       `json:"pid"`
	Version  string    `json:"version"` // of the program
	Config   string    `json:"config"`  // path of the configuration
	Started  time.Time `json:"started"`
	Stopping bool      `json:"stopping"`
	Mounts   []Mount   `json:"mounts"` // in the order of the configuration
}

// State is where a mount is between its start and its end.
type State string

// The states of a mount.
const (
	Starting State = "starting"
	Mounted  State = "mounted"
	Ending   State = "ending" // uploads what is left
	Ended    State = "ended"
	Failed   State = "failed" // to start, or to end cleanly
)

// Mount is how a mount does. What is beyond Error is there once it was mounted.
type Mount struct {
	Name  string `json:"name"`
	Path  string `json:"path"` // the mount point
	Mode  string `json:"mode"` // as in the configuration
	State State  `json:"state"`
	Error string `json:"error,omitempty"` // why it failed, one line
	// Retry is when a mount that has failed is tried again. There is none where it is not.
	Retry    *time.Time `json:"retry,omitempty"`
	Attempts int        `json:"attempts,omitempty"` // to mount it that have failed so far
	// Original is where the directory is that was at Path, while it is moved aside.
	Original string     `json:"original,omitempty"`
	Mounted  *time.Time `json:"mounted,omitempty"` // since when
	Store    Store      `json:"store"`
	Pending  Pending    `json:"pending"`
	Cache    Cache      `json:"cache"`
	Index    Index      `json:"index"`
	// OpenFiles is how many files programs have open.
	OpenFiles int      `json:"open_files"`
	Notices   []Notice `json:"notices,omitempty"` // the oldest first
}

// Reach says whether a store can be used.
type Reach string

// What is known of a store.
const (
	Reachable   Reach = "reachable"
	Unreachable Reach = "unreachable" // it may come back by itself
	Refused     Reach = "refused"     // it answers and refuses: somebody has to mend it
	Unknown     Reach = "unknown"     // it was not asked yet
)

// Store is where the content is kept.
type Store struct {
	Name     string     `json:"name"`  // of the storage in the configuration
	Place    string     `json:"place"` // for people: s3://bucket/prefix/, a folder
	State    Reach      `json:"state"`
	Since    *time.Time `json:"since,omitempty"`    // since when it is not reachable
	Error    string     `json:"error,omitempty"`    // the last failure, one line, while it is not
	Answered *time.Time `json:"answered,omitempty"` // when it last answered
}

// Pending is what is not in the store yet.
type Pending struct {
	Files   int           `json:"files"` // with content
	Bytes   int64         `json:"bytes"`
	Changes int           `json:"changes"` // of the index, not published
	Oldest  *time.Time    `json:"oldest,omitempty"`
	List    []PendingFile `json:"list"` // the oldest first; as many as were asked for
}

// PendingFile is a file that is not in the store as it is here.
type PendingFile struct {
	Path  string    `json:"path"` // in the mount; empty when it is not known
	Bytes int64     `json:"bytes"`
	Since time.Time `json:"since"`
	Open  bool      `json:"open,omitempty"` // being written: not closed yet
}

// Cache is the cache of content on this machine, in bytes.
type Cache struct {
	Used   int64  `json:"used"`
	Cap    int64  `json:"cap"`
	Pinned int64  `json:"pinned"` // not uploaded yet
	Error  string `json:"error,omitempty"`
}

// Index is the tree of files.
type Index struct {
	Files       int        `json:"files"` // as far as it was read; exact when Complete
	Directories int        `json:"directories"`
	Bytes       int64      `json:"bytes"`
	Complete    bool       `json:"complete"`
	Operations  int64      `json:"operations"`
	Sessions    int        `json:"sessions"`
	Version     string     `json:"version"` // the same on two machines that know the same
	Unpublished int        `json:"unpublished"`
	Published   *time.Time `json:"published,omitempty"` // when this process last published
	Checked     *time.Time `json:"checked,omitempty"`   // when it last knew all that the store has
	Merged      *time.Time `json:"merged,omitempty"`    // when another machine's changes came in
}

// Notice is something that happened and that the user may want to know.
type Notice struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// Progress is how far an upload has come: what is left of what there was.
type Progress struct {
	Files        int        `json:"files"`
	Changes      int        `json:"changes"`
	Bytes        int64      `json:"bytes"`
	TotalFiles   int        `json:"total_files"`
	TotalChanges int        `json:"total_changes"`
	TotalBytes   int64      `json:"total_bytes"`
	Failing      *time.Time `json:"failing,omitempty"` // since when the store has failed
	Error        string     `json:"error,omitempty"`   // its last failure
}

// Add returns the sum of two. Of two that fail, it is the one that has failed for longer.
func (p Progress) Add(o Progress) Progress {
	p.Files += o.Files
	p.Changes += o.Changes
	p.Bytes += o.Bytes
	p.TotalFiles += o.TotalFiles
	p.TotalChanges += o.TotalChanges
	p.TotalBytes += o.TotalBytes
	if o.Failing != nil && (p.Failing == nil || o.Failing.Before(*p.Failing)) {
		p.Failing, p.Error = o.Failing, o.Error
	}
	return p
}

// The errors that a Service answers with, by errors.Is also at the client.
var (
	// ErrNoMount: the process has no mount of that name, or it is not mounted.
	ErrNoMount = errors.New("no such mount")
	// ErrRefused: the store refuses what is to be uploaded; waiting does not help.
	ErrRefused = errors.New("the store refuses")
	// ErrLeft: the mounts have ended with changes left in the journal.
	ErrLeft = errors.New("changes are left in the journal")
)

// ErrSilent is in the errors of a Process's methods when the process does not answer, though
// it is there.
var ErrSilent = errors.New("does not answer")

// All asks for every pending file.
const All = -1

// Service is what a process answers. Its methods are called concurrently.
type Service interface {
	// Status says how the mounts do, with up to files pending files of each. It does
	// not wait for the store.
	Status(files int) Status
	// Wait returns nil when all that was pending in a mount, or in all of them when
	// its name is empty, is in the store. Mounts that are just being mounted are waited for; one that
	// is not there while its journal may hold changes is an error. It calls report, from one goroutine at a time, with how far
	// it is. Errors: ErrNoMount, ErrRefused, the context's.
	Wait(ctx context.Context, mount string, report func(Progress)) error
	// Stop begins to end the mounts, unless that has begun, and waits for it. What is not uploaded
	// after uploadFor stays in the journal; 0 is as long as it takes. It goes on when ctx ends.
	// Errors: ErrLeft, the context's, others.
	Stop(ctx context.Context, uploadFor time.Duration, report func(Progress)) error
}

// Event is a line of the answer to wait and stop: how far it is, or, the last one, how
// it ended.
type Event struct {
	Progress *Progress `json:"progress,omitempty"`
	Done     bool      `json:"done,omitempty"`
	Error    string    `json:"error,omitempty"` // with Done: why it failed
	Kind     string    `json:"kind,omitempty"`  // with Error: one of kinds
}

// kinds are the errors that survive the way over the socket, by their names there.
var kinds = map[string]error{"no mount": ErrNoMount, "refused": ErrRefused, "left": ErrLeft}

// kindOf returns the name of an error's kind.
func kindOf(err error) string {
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			return name
		}
	}
	return ""
}

// Error is a failure that the other side has told.
type Error struct {
	Text string // one line
	Kind error  // ErrNoMount, ErrRefused or ErrLeft; nil for others
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Unwrap returns Kind.
func (e *Error) Unwrap() error { return e.Kind }

// The bounds of the protocol.
const (
	answerMost     = 256 << 20        // bytes of a status
	eventMost      = 64 << 10         // bytes of an event
	headerMost     = 16 << 10         // bytes of a request's head
	connectionsMax = 32               // at a time
	beat           = time.Second      // between two events, even when nothing changes
	silence        = 15 * time.Second // after which the other side is taken for dead
)
