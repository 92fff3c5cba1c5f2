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

func TestHurriedRequestEndsUnlessItMoves(t *testing.T) {
	for _, c := range []struct {
		body  int
		waits time.Duration
	}{{0, 2 * time.Second}, {1 << 20, 3 * time.Second}, {320 << 20, 6 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			s := &Store{timeout: 30 * time.Second, slots: make(chan struct{}, 3)}
			var requests []*request
			for range 3 {
				r, err := s.begin(t.Context())
				require.NoError(t, err)
				defer r.end()
				r.sends(c.body)
				requests = append(requests, r)
			}
			still, moving, late := requests[0], requests[1], requests[2]
			time.Sleep(10 * time.Second)
			s.Hurry(2 * time.Second)
			moving.progress(1)
			time.Sleep(c.waits - time.Millisecond)
			s.Hurry(time.Minute) // gives none of them more time
			late.progress(0)     // is none
			synctest.Wait()
			require.False(t, still.stalled(), "%d bytes", c.body)
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			require.True(t, still.stalled(), "%d bytes", c.body)
			require.Equal(t, c.waits, still.patience())
			require.True(t, late.stalled())

			time.Sleep(30*time.Second - c.waits - 10*time.Millisecond)
			synctest.Wait()
			require.False(t, moving.stalled(), "it has its whole time again")
			time.Sleep(20 * time.Millisecond)
			synctest.Wait()
			require.True(t, moving.stalled())
		})
	}
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
