package storetest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/hamflx/pocket/objstore/storetest"
)

func TestFaultyWithoutAPlanIsTheStoreBelow(t *testing.T) {
	storetest.Run(t, func(*testing.T) objstore.Store { return storetest.NewFaulty(memstore.New()) })
}

func TestFaultyLosesTheAnswerOnly(t *testing.T) {
	ctx := t.Context()
	inner := memstore.New()
	s := storetest.NewFaulty(inner)
	s.Plan(func(c storetest.Call) storetest.Fault {
		return storetest.Fault{Kind: objstore.ErrUnavailable, Done: c.N == 2}
	})
	require.ErrorIs(t, s.Put(ctx, "first", nil), objstore.ErrUnavailable)
	require.ErrorIs(t, s.Put(ctx, "second", nil), objstore.ErrUnavailable)
	_, err := inner.Get(ctx, "first", 1)
	require.ErrorIs(t, err, objstore.ErrNotExist)
	_, err = inner.Get(ctx, "second", 1)
	require.NoError(t, err)
	require.Equal(t, 2, s.Calls(objstore.OpPut))
	s.Up()
	require.NoError(t, s.Put(ctx, "first", nil))
}

func TestFaultyCallWaitsUntilReleased(t *testing.T) {
	s := storetest.NewFaulty(memstore.New())
	release := make(chan struct{})
	arrived := make(chan struct{}, 2)
	s.Plan(func(storetest.Call) storetest.Fault {
		arrived <- struct{}{}
		return storetest.Fault{Wait: release}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- s.Put(ctx, "k", nil) }()
	<-arrived
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	go func() { done <- s.Put(t.Context(), "k", nil) }()
	<-arrived
	select {
	case err := <-done:
		t.Fatalf("returned %v before it was released", err)
	default:
	}
	close(release)
	require.NoError(t, <-done)
}
