//go:build linux || windows

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// bucket is the S3 server of a test and a record of what it was asked.
type bucket struct {
	*s3test.Server
	t *testing.T

	mu       sync.Mutex
	requests []request     // answered, in the order of their ends; guarded by mu
	fault    s3test.Fault  // guarded by mu
	changed  chan struct{} // closed at the next request's end; guarded by mu
}

// request is one that was answered.
type request struct {
	kind   s3test.Kind
	key    string
	size   int64 // bytes of the body sent or received
	status int   // 0: there was no answer
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	b := &bucket{Server: s3test.New(t), t: t, changed: make(chan struct{})}
	b.Server.SetFault(b.record)
	return b
}

// record lets a request pass, through the fault if there is one, and notes it.
func (b *bucket) record(w http.ResponseWriter, r *http.Request, next http.Handler) {
	b.mu.Lock()
	fault := b.fault
	b.mu.Unlock()
	counted := &counter{ResponseWriter: w, status: http.StatusOK}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	done := request{kind: s3test.KindOf(r), key: key}
	finished := false // not when the connection is cut on purpose
	defer func() {
		if finished {
			done.status, done.size = counted.status, counted.size
		}
		if done.kind == s3test.PutObject {
			done.size = r.ContentLength
		}
		b.mu.Lock()
		b.requests = append(b.requests, done)
		close(b.changed)
		b.changed = make(chan struct{})
		b.mu.Unlock()
	}()
	if fault != nil {
		fault(counted, r, next)
	} else {
		next.ServeHTTP(counted, r)
	}
	finished = true
}

// counter notes what is answered.
type counter struct {
	http.ResponseWriter
	status int
	size   int64
}

func (c *counter) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.size += int64(n)
	return n, err
}

// Unwrap lets faults reach the connection.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// SetFault puts a fault in the way of later requests; nil removes it.
func (b *bucket) SetFault(fault s3test.Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = fault
}

// answered returns how many requests have been answered, as a position for since.
func (b *bucket) answered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.requests)
}

// since returns the requests of a kind answered after a position whose key begins
// with prefix.
func (b *bucket) since(position int, kind s3test.Kind, prefix string) (found []request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests[position:] {
		if r.kind == kind && strings.HasPrefix(r.key, prefix) {
			found = append(found, r)
		}
	}
	return found
}

// waitRequest waits until a request has been answered that matches, after a position.
func (b *bucket) waitRequest(position int, what string, match func(request) bool) request {
	b.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		b.mu.Lock()
		requests, changed := b.requests[position:], b.changed
		b.mu.Unlock()
		if i := slices.IndexFunc(requests, match); i >= 0 {
			return requests[i]
		}
		position += len(requests)
		select {
		case <-changed:
		case <-timer.C:
			b.t.Fatalf("no request after %v: %s", patience, what)
		}
	}
}

// waitPut waits until an object whose key begins with prefix is written after a
// position.
func (b *bucket) waitPut(position int, prefix string) request {
	b.t.Helper()
	return b.waitRequest(position, "put "+prefix, func(r request) bool {
		return r.kind == s3test.PutObject && r.status == http.StatusOK && strings.HasPrefix(r.key, prefix)
	})
}

// contents returns every object of the bucket, by its key.
func (b *bucket) contents() map[string]string {
	b.t.Helper()
	keys, err := b.Keys("")
	if err != nil {
		b.t.Fatal(err)
	}
	all := make(map[string]string)
	for _, key := range keys {
		body, ok := b.Object(key)
		if !ok {
			b.t.Fatalf("object %s went away", key)
		}
		all[key] = string(body)
	}
	return all
}

// storage is the table of a storage in this bucket.
func (b *bucket) storage(name string, more ...string) string {
	return s3Storage(name, b.Endpoint, b.Bucket, b.AccessKeyID, b.SecretAccessKey, more...)
}

func s3Storage(name, endpoint, bucket, id, secret string, more ...string) string {
	return fmt.Sprintf(`[storages.%[1]s]
backend = "s3"
%[6]s
[storages.%[1]s.s3]
bucket = %[2]q
region = "us-east-1"
endpoint = %[3]q
access_key_id = %[4]q
secret_access_key = %[5]q
`, name, bucket, endpoint, id, secret, strings.Join(more, "\n"))
}

// dataKey is the key of the object with that content.
func dataKey(prefix, content string) string {
	hash := sha256.Sum256([]byte(content))
	return prefix + "data/" + hex.EncodeToString(hash[:])
}

// faulty asks for each request which fault is in its way, nil for none.
func faulty(choose func() s3test.Fault) s3test.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if fault := choose(); fault != nil {
			fault(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}
