package s3store

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRequestLastsAsLongAsItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{timeout: 30 * time.Second, slots: make(chan struct{}, 1)}
		r, err := s.begin(t.Context())
		require.NoError(t, err)
		defer r.end()
		for range 100 {
			time.Sleep(14 * time.Second)
			r.progress(window / 2)
		}
		require.NoError(t, r.ctx.Err())

		// A trickle is not progress.
		for range 29 {
			time.Sleep(time.Second)
			r.progress(1)
		}
		require.NoError(t, r.ctx.Err())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Error(t, r.ctx.Err())
		require.True(t, r.stalled())
	})
}

func TestAnswerToALargeBodyMayTakeLonger(t *testing.T) {
	for _, c := range []struct {
		size  int
		waits time.Duration
	}{{0, 30 * time.Second}, {4 << 20, 94 * time.Second}, {320 << 20, 30*time.Second + 64*time.Second + 20*time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			s := &Store{timeout: 30 * time.Second, slots: make(chan struct{}, 1)}
			r, err := s.begin(t.Context())
			require.NoError(t, err)
			defer r.end()
			r.sent(c.size)
			time.Sleep(c.waits - time.Second)
			synctest.Wait()
			require.False(t, r.stalled(), "%d bytes", c.size)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			require.True(t, r.stalled(), "%d bytes", c.size)
		})
	}
}

func TestClosedBodyIsNotReadAnyMore(t *testing.T) {
	s := &Store{timeout: time.Minute, slots: make(chan struct{}, 1)}
	r, err := s.begin(t.Context())
	require.NoError(t, err)
	defer r.end()
	b := &sendBody{request: r, data: []byte("hello")}
	for range 2 { // to sign and to send
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
		at, err := b.Seek(0, io.SeekStart)
		require.NoError(t, err)
		require.Zero(t, at)
	}
	end, err := b.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	require.EqualValues(t, 5, end)
	_, err = b.Seek(1, io.SeekCurrent)
	require.Error(t, err)
	b.close()
	_, err = b.Read(make([]byte, 1))
	require.ErrorIs(t, err, errBodyClosed)
}
