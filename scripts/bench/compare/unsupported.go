//go:build !linux

package compare

import (
	"context"
	"errors"
)

// Run works on Linux alone: it reads /proc and ends mounts with fusermount.
func Run(context.Context, Options) (*Report, error) {
	return nil, errors.New("the comparison runs on Linux alone: --folder measures Pocket by itself")
}
