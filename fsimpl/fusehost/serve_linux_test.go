package fusehost

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Operations are served by as few threads as will do, but by as many as there are operations
// that wait, of whatever kind.
func TestOperationsThatWaitKeepNobodyWaiting(t *testing.T) {
	const many = 40
	fs := newFake()
	var held atomic.Bool
	arrived, release := make(chan string, many), make(chan struct{}, many)
	fs.before = func(op, _ string) error {
		if op == "open" && held.Load() {
			arrived <- op
			<-release
		}
		return nil
	}
	_, dir := mountFake(t, fs)
	name := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	for i := range many {
		write(t, name(i), "content")
	}
	for round := range 3 { // threads that are not needed any more have ended in between
		held.Store(true)
		errs := make(chan error, many)
		for i := range many {
			go func() {
				_, err := os.ReadFile(name(i))
				errs <- err
			}()
		}
		for range many {
			<-arrived // all of them at once
		}
		write(t, name(many+round), "of another")
		held.Store(false)
		for range many {
			release <- struct{}{}
		}
		for range many {
			require.NoError(t, <-errs)
		}
		require.Equal(t, "content", read(t, name(0)))
	}
}
