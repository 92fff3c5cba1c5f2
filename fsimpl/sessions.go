package fsimpl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/loroindex/loro"
)

// metaSessions has the peers of this state directory's sessions in the journal, 8 bytes each, the
// newest last. By them a machine knows what it did itself: others may have its name.
const metaSessions = "index: own peers"

// sessionsMost is how many are kept: those of years.
const sessionsMost = journal.MaxMeta / 8

// ownPeers returns the peers of earlier sessions: those that were noted, and those whose changes
// are in the journal.
func (fs *FS) ownPeers(entries []journal.Entry) []uint64 {
	own := []uint64{} // not nil
	for noted := fs.journal.GetMeta(metaSessions); len(noted) >= 8; noted = noted[8:] {
		own = append(own, binary.BigEndian.Uint64(noted))
	}
	for _, e := range entries {
		if !slices.Contains(own, e.Peer) {
			own = append(own, e.Peer)
		}
	}
	return own
}

// noteSession adds the peer of this session to those that are kept, before it does anything.
// Those of sessions that changed nothing are dropped.
func (fs *FS) noteSession(ctx context.Context, entries []journal.Entry) error {
	version := fs.index.Version()
	own := slices.DeleteFunc(fs.ownPeers(entries), func(p uint64) bool {
		_, ok := version[loro.PeerID(p)]
		return !ok
	})
	own = append(own, fs.index.Peer())
	own = own[max(0, len(own)-sessionsMost):]
	noted := make([]byte, 0, 8*len(own))
	for _, p := range own {
		noted = binary.BigEndian.AppendUint64(noted, p)
	}
	err := fs.journal.SetMeta(ctx, metaSessions, noted)
	if errors.Is(err, journal.ErrNoSpace) {
		return nil // it is written before any change is
	}
	if err != nil {
		return fmt.Errorf("noting this session: %w", err)
	}
	return nil
}
