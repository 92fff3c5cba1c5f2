// Package compare measures Pocket and other programs that mount a bucket, on the same S3
// service through the same proxy, which adds latency to each request and counts it.
//
// A [program] is mounted, runs each [scenario], and is ended; a scenario gives the values
// of several rows. [Run] does all of it and returns a [Report]. It runs on Linux alone.
package compare

import "time"

// Options says what is compared.
type Options struct {
	Pocket   string // the program to measure
	S3Server string // the program scripts/s3server; not used with an Endpoint

	Dir       string          // parent of everything that is written; empty: the system's
	Programs  []string        // names of programs or parts of them; empty: all that are installed
	Rows      []string        // parts of rows' names: only scenarios that have one are run; empty: all
	Latencies []time.Duration // added to each request, one table each
	Rate      float64         // of the link to the service, bytes a second each way; 0: without a limit
	Runs      int             // the median of so many is shown
	Limit     time.Duration   // a step that takes longer is cut short and says so
	Scale     float64         // of counts and sizes; 1 is what is documented

	// Another service than S3Server. Keys are read and written below a prefix of the run's own.
	Endpoint, Bucket, Region, AccessKey, SecretKey string

	Say func(text string) // progress; called by one goroutine at a time
}
