package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hamflx/pocket/internal/term"
	"github.com/hamflx/pocket/scripts/bench/compare"
)

// comparison holds the flags of comparing programs on S3.
type comparison struct {
	compare.Options
	peers, rows, latency string
	rate                 float64 // Mbit/s
}

func defineComparison(flags *flag.FlagSet) *comparison {
	c := &comparison{}
	flags.StringVar(&c.S3Server, "s3server", "bin/s3server", "the S3 service to start")
	flags.StringVar(&c.peers, "peers", "", "columns, by parts of their names, separated by commas (default: all that are installed)")
	flags.StringVar(&c.rows, "rows", "", "rows, by parts of their names, separated by commas; rows that are measured together come together")
	flags.StringVar(&c.latency, "latency", "20ms,0ms", "added to each request; one table for each, separated by commas")
	flags.Float64Var(&c.rate, "rate", 0, "a link of so many Mbit/s each way, shared by all requests (default: without a limit)")
	flags.DurationVar(&c.Limit, "limit", 15*time.Second, "a step that takes longer is cut short; the bucket may take four times as long")
	flags.Float64Var(&c.Scale, "scale", 1, "multiplies counts and sizes, for a quick look")
	flags.StringVar(&c.Endpoint, "endpoint", "", "URL of another S3 service, which must not mind whose host name it is asked by")
	flags.StringVar(&c.Bucket, "bucket", "", "the bucket there")
	flags.StringVar(&c.Region, "region", "us-east-1", "its region")
	flags.StringVar(&c.AccessKey, "access-key", "", "its access key (default: $AWS_ACCESS_KEY_ID, for an endpoint); the secret is $AWS_SECRET_ACCESS_KEY")
	return c
}

func (c *comparison) run(program, parent string, runs int, asJSON bool, stdout, stderr io.Writer) int {
	c.Pocket, c.Dir, c.Runs = program, parent, runs
	c.Programs, c.Rows = list(c.peers), list(c.rows)
	if c.Scale <= 0 || c.Limit <= 0 {
		fmt.Fprintln(stderr, "bench: -scale and -limit must be more than 0")
		return 2
	}
	if c.rate < 0 {
		fmt.Fprintln(stderr, "bench: -rate must not be less than 0")
		return 2
	}
	c.Rate = c.rate * 1e6 / 8
	for _, text := range list(c.latency) {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > time.Minute {
			fmt.Fprintf(stderr, "bench: -latency: %q is no duration like 20ms\n", text)
			return 2
		}
		c.Latencies = append(c.Latencies, d)
	}
	if c.Endpoint == "" {
		c.AccessKey, c.SecretKey = "bench", "bench-secret"
	} else {
		if c.AccessKey == "" {
			c.AccessKey = os.Getenv("AWS_ACCESS_KEY_ID")
		}
		if c.SecretKey = os.Getenv("AWS_SECRET_ACCESS_KEY"); c.AccessKey == "" || c.SecretKey == "" {
			fmt.Fprintln(stderr, "bench: -endpoint needs keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
			return 2
		}
	}
	var mu sync.Mutex
	start := time.Now()
	c.Say = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(stderr, "bench: %4.0f s  %s\n", time.Since(start).Seconds(), term.Printable(text))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := compare.Run(ctx, c.Options)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "bench: stopped; everything is unmounted")
		if err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(stderr, "bench:", err)
		}
		if report != nil {
			if err := show(report, asJSON, stdout); err != nil {
				fmt.Fprintln(stderr, "bench:", err)
			}
		}
		return 130
	case err == nil:
		err = show(report, asJSON, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func show(report *compare.Report, asJSON bool, to io.Writer) error {
	if asJSON {
		return report.JSON(to)
	}
	return report.Text(to)
}

// list splits words separated by commas.
func list(text string) []string {
	var words []string
	for _, w := range strings.Split(text, ",") {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	return words
}
