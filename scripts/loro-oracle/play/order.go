package play

import (
	"math/rand/v2"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Shuffle returns blobs, which together hold all of document d, in a random
// order, so that changes come before those they depend on. Orders on which
// version 1.10.3 of the official library crashes are avoided: those where a blob
// that is applied in part releases changes that waited, and these in turn what
// was left of the blob. Where no other order is left, a blob with all the rest
// takes the place of the remaining ones.
func Shuffle(r *rand.Rand, d *loro.Doc, blobs [][]byte) ([][]byte, error) {
	at := loro.NewDoc(1)
	var out [][]byte
	left := slices.Clone(blobs)
	r.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	for put := 0; len(left) > 0 && put < len(left); {
		blob := left[0]
		left = left[1:]
		bad, err := Crashes1103(at, nil, blob)
		if err != nil {
			return nil, err
		}
		if bad {
			left = append(left, blob)
			put++
			continue
		}
		if _, err := at.Import(blob); err != nil {
			return nil, err
		}
		out, put = append(out, blob), 0
	}
	if at.Version().Covers(d.Version()) {
		return out, nil
	}
	rest, err := d.ExportUpdates(at.Version())
	return append(out, rest), err
}

// Crashes1103 reports whether version 1.10.3 of the official library may crash when
// this document, with what waits in it, imports the blob. start is the snapshot
// the document began with, nil for none.
func Crashes1103(at *loro.Doc, start, blob []byte) (bool, error) {
	if len(at.Pending()) == 0 {
		return false, nil
	}
	applied, err := at.ExportUpdates(nil)
	if err != nil {
		return false, err
	}
	trial := loro.NewDoc(1)
	for _, b := range [][]byte{start, applied} {
		if b == nil {
			continue
		}
		if _, err := trial.Import(b); err != nil {
			return false, err
		}
	}
	status, err := trial.Import(blob)
	return len(status.Applied) > 0 && len(status.Pending) > 0, err
}
