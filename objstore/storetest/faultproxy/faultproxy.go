// Package faultproxy is an HTTP proxy between a client and an S3 endpoint that
// behaves as networks and services do on bad days: slow, cut off, throttled,
// lying. The faults are package s3test's; a [Rule] says which requests meet one.
//
//	p, err := faultproxy.Start(server.Endpoint, faultproxy.Options{Seed: 7})
//	p.Set(
//		faultproxy.Rule{Fault: s3test.Delay(20 * time.Millisecond)},
//		faultproxy.Rule{Kinds: []s3test.Kind{s3test.PutObject}, Prefix: "data/", Chance: 0.1, Fault: s3test.Answer(503, "SlowDown")},
//	)
//
// Rules can be written as text, see [ParseRule]. Whether a rule with a chance
// meets a request depends on the seed, the request's kind and key, and how many
// of that kind and key came before, and so not on the order in which requests
// happen to arrive.
//
// The Host header stays the proxy's, since clients sign it: endpoints that check
// signatures must not care for their own name. Package s3test's does not.
package faultproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// Options of a proxy. The zero value is good.
type Options struct {
	Listen string // host:port; "": a free port of 127.0.0.1
	Seed   uint64
}

// Rule puts a fault in the way of some requests.
type Rule struct {
	Name   string        // in Hits; "": not counted
	Kinds  []s3test.Kind // none: all
	Prefix string        // of the key in the bucket; of a listing, of its prefix
	Chance float64       // that a request which matches meets the fault; 0: always
	Fault  s3test.Fault
}

// matches reports whether a request is one that the rule is about.
func (r *Rule) matches(kind s3test.Kind, key string) bool {
	return strings.HasPrefix(key, r.Prefix) && (len(r.Kinds) == 0 || slices.Contains(r.Kinds, kind))
}

// Proxy is a running proxy. Its methods may be called concurrently, Cut, Join
// and Close one at a time.
type Proxy struct {
	Endpoint string // http://127.0.0.1:port

	seed    uint64
	forward *httputil.ReverseProxy
	addr    string
	free    func() // gives the address back

	mu     sync.Mutex
	rules  []Rule              // replaced whole; guarded by mu
	asked  map[question]uint64 // how often; guarded by mu
	hits   map[string]int      // guarded by mu
	counts map[s3test.Kind]int // guarded by mu
	server *http.Server        // nil while cut; guarded by mu
	cancel context.CancelFunc  // of the requests under way; guarded by mu
	served chan error
}

// question is what a request asks, for counting how often.
type question struct {
	kind s3test.Kind
	key  string
}

// Start starts a proxy in front of target, an S3 endpoint's URL. Close ends it.
func Start(target string, o Options) (*Proxy, error) {
	to, err := url.Parse(target)
	if err != nil || to.Host == "" {
		return nil, fmt.Errorf("fault proxy: %q is not the URL of an endpoint, such as http://127.0.0.1:9000", target)
	}
	free := func() {}
	if o.Listen == "" {
		if o.Listen, free, err = s3test.HoldPort(); err != nil {
			return nil, fmt.Errorf("fault proxy: %w", err)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 512
	transport.DisableCompression = true
	transport.ForceAttemptHTTP2 = false
	p := &Proxy{
		seed: o.Seed, addr: o.Listen, free: sync.OnceFunc(free),
		asked: make(map[question]uint64), hits: make(map[string]int), counts: make(map[s3test.Kind]int),
		forward: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.Out.Host = r.In.Host
			},
			Transport:  transport,
			BufferPool: &buffers{},
			ErrorLog:   log.New(io.Discard, "", 0),
			// An endpoint that is away looks as it would without the proxy.
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		},
	}
	if err := p.Join(); err != nil {
		free()
		return nil, err
	}
	p.Endpoint = "http://" + p.addr
	return p, nil
}

// Set replaces the rules. A request meets the faults of all rules that are for
// it, the first rule's first. Requests under way keep theirs.
func (p *Proxy) Set(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = slices.Clone(rules)
}

// Hits returns how often each named rule met a request.
func (p *Proxy) Hits() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	hits := make(map[string]int, len(p.hits))
	for name, n := range p.hits {
		hits[name] = n
	}
	return hits
}

// Counts returns how many requests of each kind have arrived.
func (p *Proxy) Counts() map[s3test.Kind]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := make(map[s3test.Kind]int, len(p.counts))
	for kind, n := range p.counts {
		counts[kind] = n
	}
	return counts
}

// Cut takes the endpoint off the network: requests under way are broken, new
// connections are refused. Cut twice is harmless.
func (p *Proxy) Cut() {
	p.mu.Lock()
	server, cancel := p.server, p.cancel
	p.server = nil
	p.mu.Unlock()
	if server == nil {
		return
	}
	cancel()
	server.Close()
	<-p.served
}

// Join puts the endpoint back on the network, at the address it had.
func (p *Proxy) Join() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		return errors.New("fault proxy: it is on the network")
	}
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("fault proxy: %w", err)
	}
	p.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.server = &http.Server{
		Handler: http.HandlerFunc(p.serve), BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
	}
	p.served = make(chan error, 1)
	go func(server *http.Server, served chan error) { served <- server.Serve(listener) }(p.server, p.served)
	return nil
}

// Close ends the proxy.
func (p *Proxy) Close() {
	p.Cut()
	p.free()
	p.forward.Transport.(*http.Transport).CloseIdleConnections()
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	kind, key := s3test.KindOf(r), s3test.KeyOf(r)
	var faults []s3test.Fault
	p.mu.Lock()
	p.counts[kind]++
	ask := question{kind, key}
	n := p.asked[ask]
	p.asked[ask] = n + 1
	for i := range p.rules {
		rule := &p.rules[i]
		if !rule.matches(kind, key) || rule.Chance > 0 && p.chance(i, ask, n) >= rule.Chance {
			continue
		}
		faults = append(faults, rule.Fault)
		if rule.Name != "" {
			p.hits[rule.Name]++
		}
	}
	p.mu.Unlock()
	s3test.Chain(faults...)(w, r, p.forward)
}

// chance returns a number from 0 to below 1 that follows from the seed, the
// rule's place, and the request.
func (p *Proxy) chance(rule int, ask question, n uint64) float64 {
	h := fnv.New64a()
	h.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, n), uint64(rule)))
	io.WriteString(h, string(ask.kind)+" "+ask.key)
	return rand.New(rand.NewPCG(p.seed, h.Sum64())).Float64()
}

// buffers recycles the memory that bodies are copied through.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 64<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
