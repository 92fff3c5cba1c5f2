package control

import (
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/testdisk"
)

func TestRecordIsWrittenWhenThereIsRoom(t *testing.T) {
	dir := testdisk.Small(t, "64k")
	ballast := filepath.Join(dir, "ballast")
	testdisk.Fill(t, ballast)
	s, err := Listen(dir, About{PID: os.Getpid()}, answering(), slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, os.Remove(ballast))
	found(t, dir)
	require.NoError(t, s.Close(t.Context()))
	require.NoDirExists(t, Dir(dir))
}
