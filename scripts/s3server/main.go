// S3server is the S3 service of the comparison in scripts/bench: gofakes3 with its objects
// in memory, so that the disk is not what is measured. Buckets appear when they are named.
// It prints its URL and ends when its standard input ends, so that it never outlives who
// started it.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "s3server:", err)
		os.Exit(1)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // any end is an end
		os.Exit(0)
	}()
	fmt.Println("http://" + listener.Addr().String())
	server := http.Server{
		Handler:           copyParts(gofakes3.New(s3mem.New(), gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithAutoBucket(true)).Server()),
		ReadHeaderTimeout: time.Minute,
	}
	fmt.Fprintln(os.Stderr, "s3server:", server.Serve(listener))
	os.Exit(1)
}
