package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/loroindex/loro"
)

// maxFile is the largest file that is read: no index object is larger.
const maxFile = 2 << 30

// openFile opens a single object of an index: a snapshot, or an update that needs
// no other.
func (c *command) openFile(name string) (*loroindex.Index, *figures, error) {
	body, err := readFile(name)
	if err != nil {
		return nil, nil, err
	}
	meta, err := loro.Peek(body)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: not an object of an index: %w", name, err)
	}
	fig := &figures{}
	if meta.Mode == loro.ModeSnapshot {
		fig.Snapshots, fig.SnapshotBytes = 1, int64(len(body))
		// Through Load, which also knows what the first Pocket wrote.
		loaded, err := loroindex.Load(c.ctx, single{objectid.Of(body), body}, nil, loroindex.Options{})
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, cause(err))
		}
		return loaded.Index, fig, nil
	}
	fig.Updates, fig.UpdateBytes = 1, int64(len(body))
	x, err := loroindex.Open(loroindex.Options{}, body)
	if errors.Is(err, loroindex.ErrMissing) {
		for p, end := range meta.End {
			return nil, nil, fmt.Errorf("%s: it is an update, operations %d to %d of peer %016x, which build on others: dump the index that it is part of", name, meta.Start[p], end, uint64(p))
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return x, fig, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(body) > maxFile {
		err = errors.New("larger than any object of an index")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return body, nil
}

// cause is an error without the key that it is about, where only one object is
// there.
func cause(err error) error {
	var k *loroindex.KeyError
	if errors.As(err, &k) {
		return k.Err
	}
	return err
}

// single is a bucket of one snapshot.
type single struct {
	id   objectid.ID
	body []byte
}

func (s single) Get(_ context.Context, key string, _ int64) ([]byte, error) {
	switch key {
	case loroindex.HeadKey:
		return []byte(s.id.String()), nil
	case loroindex.ObjectKey(s.id):
		return s.body, nil
	}
	return nil, fs.ErrNotExist
}

func (s single) Put(context.Context, string, []byte) error { return fs.ErrPermission }

func (s single) List(_ context.Context, prefix, _ string) iter.Seq2[loroindex.Object, error] {
	return func(yield func(loroindex.Object, error) bool) {
		if prefix == loroindex.ObjectPrefix {
			yield(loroindex.Object{Key: loroindex.ObjectKey(s.id), Size: int64(len(s.body))}, nil)
		}
	}
}

func (s single) NotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
