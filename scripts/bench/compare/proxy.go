package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// proxy stands in front of an S3 service: every request waits for the latency before it
// goes on, in parallel with all others, and is counted. Bodies share a link in each direction,
// if that has a limit.
type proxy struct {
	url     string
	latency time.Duration
	up      *link // nil: without a limit, as down
	down    *link
	server  *http.Server
	served  chan error

	mu       sync.Mutex
	traffic  Traffic   // guarded by mu
	writing  int       // requests under way that change the bucket; guarded by mu
	lastDone time.Time // when the last of them had succeeded; guarded by mu
}

// Traffic is what has been asked of the service.
type Traffic struct {
	Requests map[string]int `json:"requests"` // by kind: GET, HEAD, LIST, PUT, COPY, POST, DELETE
	Failed   int            `json:"failed"`   // answered with 400 or more, a 404 apart
	Up       int64          `json:"bytes_up"` // bodies of what was asked and answered with success
	Down     int64          `json:"bytes_down"`
}

// since is what was added after an earlier state.
func (t Traffic) since(before Traffic) Traffic {
	d := Traffic{Requests: map[string]int{}, Failed: t.Failed - before.Failed, Up: t.Up - before.Up, Down: t.Down - before.Down}
	for kind, n := range t.Requests {
		if n -= before.Requests[kind]; n > 0 {
			d.Requests[kind] = n
		}
	}
	return d
}

func (t *Traffic) add(o Traffic) {
	if t.Requests == nil {
		t.Requests = map[string]int{}
	}
	for kind, n := range o.Requests {
		t.Requests[kind] += n
	}
	t.Failed, t.Up, t.Down = t.Failed+o.Failed, t.Up+o.Up, t.Down+o.Down
}

// link passes bytes at a rate, whoever sends them.
type link struct {
	rate float64 // bytes a second

	mu   sync.Mutex
	free time.Time // when all that was sent so far has passed; guarded by mu
}

func newLink(rate float64) *link {
	if rate <= 0 {
		return nil
	}
	return &link{rate: rate}
}

// pass waits until n bytes have passed.
func (l *link) pass(n int) {
	if l == nil || n <= 0 {
		return
	}
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	time.Sleep(wait)
}

// startProxy listens on a port of this machine. rate is that of the link, in bytes a
// second; 0: without a limit.
func startProxy(service string, latency time.Duration, rate float64) (*proxy, error) {
	to, err := url.Parse(service)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{url: "http://" + listener.Addr().String(), latency: latency, up: newLink(rate), down: newLink(rate), served: make(chan error, 1), traffic: Traffic{Requests: map[string]int{}}}
	buffers := &sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}
	forward := &httputil.ReverseProxy{
		// The Host stays as it was: it is part of what was signed.
		Rewrite:    func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true, WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10},
		BufferPool: pool{buffers},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	p.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(forward, w, r) }), ReadHeaderTimeout: time.Minute}
	go func() { p.served <- p.server.Serve(listener) }()
	return p, nil
}

func (p *proxy) close() error {
	err := p.server.Close()
	if e := <-p.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func (p *proxy) serve(forward http.Handler, w http.ResponseWriter, r *http.Request) {
	kind := kindOf(r)
	changes := kind != "GET" && kind != "HEAD" && kind != "LIST"
	p.mu.Lock()
	p.traffic.Requests[kind]++
	if changes {
		p.writing++
	}
	p.mu.Unlock()
	body := &countedBody{ReadCloser: r.Body, link: p.up}
	r.Body = body
	answer := &countedAnswer{ResponseWriter: w, status: http.StatusOK, link: p.down}
	defer func() { // also where the reverse proxy panics: the client went away
		p.mu.Lock()
		defer p.mu.Unlock()
		p.traffic.Down += answer.n
		if changes {
			p.writing--
		}
		switch {
		case answer.status < 300:
			p.traffic.Up += body.n
			if changes {
				p.lastDone = time.Now()
			}
		case answer.status >= 400 && answer.status != http.StatusNotFound:
			p.traffic.Failed++
		}
	}()
	if p.latency > 0 {
		late := time.NewTimer(p.latency)
		defer late.Stop()
		select {
		case <-late.C:
		case <-r.Context().Done():
			answer.status = http.StatusGatewayTimeout
			return
		}
	}
	forward.ServeHTTP(answer, r)
}

// kindOf names a request. The path is /bucket/key.
func kindOf(r *http.Request) string {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodGet && key == "":
		return "LIST"
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		return "COPY"
	}
	return r.Method
}

func (p *proxy) now() Traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.traffic
	t.Requests = maps.Clone(t.Requests)
	return t
}

// settled waits until the bucket has what was written after before: at least bytes have
// been uploaded, and no request has changed the bucket for the time quiet. It returns when
// the last request that did was answered: the zero time when there was none.
func (p *proxy) settled(ctx context.Context, before Traffic, start time.Time, bytes int64, quiet, limit time.Duration) (time.Time, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	idle := time.Now()
	for {
		p.mu.Lock()
		up, last, writing := p.traffic.Up-before.Up, p.lastDone, p.writing
		p.mu.Unlock()
		if last.After(idle) {
			idle = last
		}
		if up >= bytes && writing == 0 && time.Since(idle) >= quiet {
			if last.Before(start) {
				last = time.Time{}
			}
			return last, nil
		}
		if time.Since(start) > limit {
			return time.Time{}, fmt.Errorf("not all was in the bucket after %v: %d of at least %d bytes", limit, up, bytes)
		}
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-tick.C:
		}
	}
}

type countedBody struct {
	io.ReadCloser
	link *link
	n    int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.link.pass(n)
	b.n += int64(n)
	return n, err
}

type countedAnswer struct {
	http.ResponseWriter
	link   *link
	status int
	n      int64
}

func (a *countedAnswer) WriteHeader(status int) {
	if status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *countedAnswer) Write(p []byte) (int, error) {
	a.link.pass(len(p))
	n, err := a.ResponseWriter.Write(p)
	a.n += int64(n)
	return n, err
}

// Unwrap lets the reverse proxy flush.
func (a *countedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// pool lends the reverse proxy its buffers.
type pool struct{ p *sync.Pool }

func (b pool) Get() []byte  { return *b.p.Get().(*[]byte) }
func (b pool) Put(p []byte) { b.p.Put(&p) }
