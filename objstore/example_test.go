package objstore_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/memstore"
)

// A mount's part of a store, with calls repeated while the store cannot be
// reached.
func Example() {
	ctx := context.Background()
	var s objstore.Store = memstore.New()
	s = objstore.WithRetry(objstore.WithPrefix(s, "ssh/"), objstore.RetryPolicy{})

	if err := s.Put(ctx, "index/head", []byte("hello")); err != nil {
		fmt.Println(err)
	}
	for info, err := range s.List(ctx, "index/", "") {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(info.Key, info.Size)
	}
	_, err := s.Get(ctx, "index/tip", 1<<10)
	fmt.Println(errors.Is(err, objstore.ErrNotExist), err)
	// Output:
	// index/head 5
	// true get ssh/index/tip from memory: no such object
}
