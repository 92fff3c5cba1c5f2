// Package s3test is an S3 server inside the test's process, and the faults to
// try on its clients.
//
// The server is gofakes3 over plain HTTP on 127.0.0.1, in memory, with what
// that lacks and clients have to cope with: signatures are checked, requests
// are counted by kind, [Fault]s stand in the way of requests, and it can be
// stopped and started again on the same address with its data.
//
//	srv := s3test.New(t)
//	srv.SetFault(s3test.On(s3test.PutObject, s3test.Answer(503, "SlowDown")))
package s3test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Server is one S3 endpoint with one bucket, to which more can be added. Its
// methods may be called concurrently, Stop, Restart and Close one at a time.
type Server struct {
	Endpoint        string // http://127.0.0.1:port
	Region          string
	Bucket          string
	AccessKeyID     string
	SecretAccessKey string

	addr    string
	free    func() // gives the address back
	backend *s3mem.Backend
	s3      http.Handler

	mu     sync.Mutex // guards fault and counts; held while a request begins
	fault  Fault
	counts map[Kind]int

	server  *http.Server // nil when stopped
	cancel  context.CancelFunc
	served  chan error
	running sync.WaitGroup // requests
}

// Start starts a server. Close ends it.
func Start() (*Server, error) {
	addr, free, err := HoldPort()
	if err != nil {
		return nil, fmt.Errorf("s3test: %w", err)
	}
	backend := s3mem.New()
	s := &Server{
		Region:          "us-east-1",
		Bucket:          "pocket-test",
		AccessKeyID:     "AKIDPOCKETTEST",
		SecretAccessKey: "s3test/secret+key",
		addr:            addr,
		free:            sync.OnceFunc(free),
		backend:         backend,
		s3:              gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithTimeSkewLimit(0)).Server(), // Skew checks the time
		counts:          make(map[Kind]int),
	}
	if err := s.CreateBucket(s.Bucket); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.Restart(); err != nil {
		s.Close()
		return nil, err
	}
	s.Endpoint = "http://" + s.addr
	return s, nil
}

// New is Start for a test, at whose end the server is closed.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Stop takes the server off the network: requests under way are cut, new
// connections are refused. When it returns no request is at work any more.
// The objects stay.
func (s *Server) Stop() {
	if s.server == nil {
		return
	}
	s.mu.Lock()
	s.cancel() // from here on no request begins
	s.mu.Unlock()
	s.server.Close()
	<-s.served
	s.running.Wait()
	s.server = nil
}

// Restart starts a stopped server on the address it had.
func (s *Server) Restart() error {
	if s.server != nil {
		return errors.New("s3test: the server is running")
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("s3test: start the server again: %w", err)
	}
	s.addr = listener.Addr().String() // where no port was held
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{Handler: http.HandlerFunc(s.serve), BaseContext: func(net.Listener) context.Context { return ctx }}
	s.server, s.cancel, s.served = server, cancel, make(chan error, 1)
	go func(served chan error) { served <- server.Serve(listener) }(s.served)
	return nil
}

// Close stops the server for good.
func (s *Server) Close() {
	s.Stop()
	s.free()
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if r.Context().Err() != nil { // Stop has begun
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.running.Add(1)
	defer s.running.Done()
	s.counts[KindOf(r)]++
	fault := s.fault
	s.mu.Unlock()

	handler := http.HandlerFunc(s.answer)
	if fault != nil {
		fault(w, r, handler)
		return
	}
	handler(w, r)
}

// answer is what the server does when no fault is in the way.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	if code, why := s.checkSignature(r); code != "" {
		status := http.StatusForbidden
		if code == "NotImplemented" {
			status = http.StatusNotImplemented
		}
		writeError(w, r, status, code, why)
		return
	}
	ignoreConditions(r)
	s.s3.ServeHTTP(w, r)
}

// SetFault puts fault in the way of every later request; nil removes it.
func (s *Server) SetFault(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Count returns how many requests of that kind have arrived, failed ones too.
func (s *Server) Count(kind Kind) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[kind]
}

// CreateBucket adds an empty bucket.
func (s *Server) CreateBucket(name string) error { return s.backend.CreateBucket(name) }

// Object returns an object of Bucket, past faults and counts. It reports
// false when there is none.
func (s *Server) Object(key string) ([]byte, bool) {
	o, err := s.backend.GetObject(s.Bucket, key, nil)
	if err != nil {
		return nil, false
	}
	defer o.Contents.Close()
	body, err := io.ReadAll(o.Contents)
	return body, err == nil
}

// SetObject writes an object of Bucket, past faults and counts.
func (s *Server) SetObject(key string, body []byte) error {
	_, err := s.backend.PutObject(s.Bucket, key, map[string]string{}, bytes.NewReader(body), int64(len(body)), nil)
	return err
}

// Keys returns the keys of Bucket that begin with prefix, in order.
func (s *Server) Keys(prefix string) ([]string, error) {
	p := gofakes3.NewPrefix(&prefix, nil)
	list, err := s.backend.ListBucket(s.Bucket, &p, gofakes3.ListBucketPage{})
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(list.Contents))
	for _, c := range list.Contents {
		keys = append(keys, c.Key)
	}
	slices.Sort(keys)
	return keys, nil
}
