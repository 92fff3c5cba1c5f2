// Package transfer moves content between this machine and the store.
//
// [Queue] is the way up: it takes committed index operations with the objects
// they name, writes both to the journal in one transaction, uploads the objects in
// parallel and then publishes the operations, in order, never before what they
// name is in the store. Others are told of what was published beside that. What is
// superseded before its upload began (a file rewritten, or deleted while nobody
// else can know it) is not uploaded at all, and what will probably be is held back
// for a second. It retries for ever; what it has not done when the process ends is
// in the journal and is taken up by the next one.
//
// [Fetcher] is the way down: whole objects, each verified against its SHA-256,
// fetched once however many readers want it, and kept in the chunk cache.
package transfer

import (
	"context"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/pagebuf"
)

// Store is what both directions need of an object store; objstore.Store has it.
type Store interface {
	Get(ctx context.Context, key string, max int64) ([]byte, error)
	Put(ctx context.Context, key string, body []byte) error
}

// Cache is the chunk cache as both directions see it; chunkcache.Cache has it.
type Cache interface {
	ReadAt(id objectid.ID, p []byte, off int64) (int, error)
	Get(id objectid.ID) ([]byte, error)
	PutFetched(id objectid.ID, body *pagebuf.Buffer, stream bool) error
	InMemory(id objectid.ID, end int64) *pagebuf.Buffer
	Has(id objectid.ID) bool
	Pin(id objectid.ID) error
	Unpin(id objectid.ID)
	Stored(id objectid.ID)
}

// Journal is where the queue's work survives the process; journal.Journal has it.
type Journal interface {
	Enqueue(journal.Entry) *journal.Ticket
	Uploaded(ids ...objectid.ID)
}
