package objstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/hamflx/pocket/objstore/storetest"
)

func TestRetryRepeatsWhatMaySucceedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		faulty := storetest.NewFaulty(memstore.New())
		s := objstore.WithRetry(faulty, objstore.RetryPolicy{})
		require.NoError(t, s.Put(ctx, "k", []byte("v")))
		getter, ok := objstore.As[objstore.ConditionalGetter](s)
		require.True(t, ok)
		stater, ok := objstore.As[objstore.Stater](s)
		require.True(t, ok)
		for op, call := range map[string]func() error{
			objstore.OpGet: func() error {
				body, err := s.Get(ctx, "k", 10)
				require.Equal(t, "v", string(body))
				return err
			},
			objstore.OpGet + " ": func() error { // conditionally
				body, _, err := getter.GetIfChanged(ctx, "k", "", 10)
				require.Equal(t, "v", string(body))
				return err
			},
			objstore.OpPut:  func() error { return s.Put(ctx, "k", []byte("v")) },
			objstore.OpStat: func() error { _, err := stater.Stat(ctx, "k"); return err },
			objstore.OpList: func() error {
				for info, err := range s.List(ctx, "", "") {
					if err != nil {
						return err
					}
					require.Equal(t, "k", info.Key)
				}
				return nil
			},
			objstore.OpDelete: func() error { return s.Delete(ctx, "gone") },
		} {
			faulty.FailNext(strings.TrimSpace(op), 3, objstore.ErrUnavailable)
			require.NoError(t, call(), op)
		}
	})
}

func TestRetryReturnsOtherErrorsAtOnce(t *testing.T) {
	faulty := storetest.NewFaulty(memstore.New())
	s := objstore.WithRetry(faulty, objstore.RetryPolicy{})
	for i, kind := range []error{objstore.ErrPermission, objstore.ErrNoBucket, objstore.ErrNoSpace, objstore.ErrCorrupt, objstore.ErrFailed} {
		faulty.Down(kind)
		require.ErrorIs(t, s.Put(t.Context(), "k", nil), kind)
		require.Equal(t, i+1, faulty.Calls(objstore.OpPut))
	}
}

func TestRetryGivesUpAtTheEndOfItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := storetest.NewFaulty(memstore.New())
		faulty.Down(objstore.ErrUnavailable)
		begun := time.Now()
		s := objstore.WithRetry(faulty, objstore.RetryPolicy{MinWait: 100 * time.Millisecond, MaxWait: 3 * time.Second, Budget: time.Minute})
		require.ErrorIs(t, s.Put(t.Context(), "k", nil), objstore.ErrUnavailable)
		took := time.Since(begun)
		require.LessOrEqual(t, took, time.Minute)
		require.Greater(t, took, time.Minute-3*time.Second)
		// Five waits to grow to MaxWait, then at most 60 s in waits of 1.5 s on
		// average; the waits are random.
		require.InDelta(t, 45, faulty.Calls(objstore.OpPut), 25)
	})
}

func TestRetryWithoutABudgetEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := storetest.NewFaulty(memstore.New())
		faulty.Down(objstore.ErrUnavailable)
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		s := objstore.WithRetry(faulty, objstore.RetryPolicy{Budget: -1})
		err := s.Put(ctx, "k", nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, objstore.ErrUnavailable)
		require.ErrorContains(t, err, "as planned by the test", "what went wrong all day is told")
		require.Greater(t, faulty.Calls(objstore.OpPut), 24*60*60/10)
	})
}

func TestRetriedListYieldsEachKeyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		inner := memstore.New()
		var want []string
		for i := range 30 {
			want = append(want, fmt.Sprintf("p/%02d", i))
			require.NoError(t, inner.Put(ctx, want[i], nil))
		}
		faulty := storetest.NewFaulty(inner)
		// Each attempt gets a little further, each takes most of the budget.
		faulty.Plan(func(c storetest.Call) storetest.Fault {
			return storetest.Fault{Kind: objstore.ErrUnavailable, Items: 7}
		})
		s := objstore.WithRetry(faulty, objstore.RetryPolicy{MinWait: time.Second, Budget: time.Second})
		var got []string
		var last error
		for info, err := range s.List(ctx, "p/", "p/00") {
			if err != nil {
				last = err
				continue
			}
			time.Sleep(time.Minute) // the caller's time is not the store's
			got = append(got, info.Key)
		}
		require.Equal(t, want[1:], got)
		require.ErrorIs(t, last, objstore.ErrUnavailable, "the last attempt has nothing to yield and fails until the budget ends")
	})
}

func TestObserveHearsWhetherTheStoreAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		faulty := storetest.NewFaulty(memstore.New())
		var heard []error
		s := objstore.WithRetry(faulty, objstore.RetryPolicy{Observe: func(err error) { heard = append(heard, err) }})
		take := func() []error {
			defer func() { heard = nil }()
			return heard
		}

		require.NoError(t, s.Put(ctx, "k", []byte("v")))
		_, err := s.Get(ctx, "missing", 10)
		require.ErrorIs(t, err, objstore.ErrNotExist)
		_, err = s.Get(ctx, "k", 0)
		require.ErrorIs(t, err, objstore.ErrTooLarge)
		for range s.List(ctx, "", "") {
		}
		require.Equal(t, []error{nil, nil, nil, nil}, take(), "these are answers")

		require.ErrorIs(t, s.Put(ctx, "", nil), objstore.ErrInvalidKey)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, s.Put(ended, "k", nil), context.Canceled)
		require.Empty(t, take(), "these say nothing about the store")

		faulty.FailNext(objstore.OpPut, 2, objstore.ErrUnavailable)
		require.NoError(t, s.Put(ctx, "k", nil))
		got := take()
		require.Len(t, got, 3)
		require.ErrorIs(t, got[0], objstore.ErrUnavailable)
		require.ErrorIs(t, got[1], objstore.ErrUnavailable)
		require.NoError(t, got[2])

		faulty.Down(objstore.ErrPermission)
		require.Error(t, s.Put(ctx, "k", nil))
		got = take()
		require.Len(t, got, 1)
		require.ErrorIs(t, got[0], objstore.ErrPermission)
	})
}
