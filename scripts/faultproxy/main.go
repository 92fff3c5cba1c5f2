// Command faultproxy stands between a client and an S3 endpoint and makes its
// requests slow, or fail: package faultproxy as a program.
//
//	go run ./scripts/faultproxy -target http://127.0.0.1:9000 -fault delay=20ms -fault 503@0.05:PutObject
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/hamflx/pocket/objstore/storetest/faultproxy"
)

func main() { os.Exit(run()) }

func run() int {
	target := flag.String("target", "", "the endpoint's URL")
	listen := flag.String("listen", "127.0.0.1:0", "where clients connect")
	seed := flag.Uint64("seed", 1, "decides which requests meet a fault that has a chance")
	var rules []faultproxy.Rule
	flag.Func("fault", "a rule, as often as wanted:\n"+faultproxy.Syntax, func(text string) error {
		rule, err := faultproxy.ParseRule(text)
		rules = append(rules, rule)
		return err
	})
	flag.Parse()
	p, err := faultproxy.Start(*target, faultproxy.Options{Listen: *listen, Seed: *seed})
	if err != nil {
		fmt.Fprintln(os.Stderr, "faultproxy:", err)
		return 2
	}
	defer p.Close()
	p.Set(rules...)
	fmt.Println(p.Endpoint)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	<-interrupted
	for name, n := range p.Hits() {
		fmt.Fprintf(os.Stderr, "%8d  %s\n", n, name)
	}
	return 0
}
