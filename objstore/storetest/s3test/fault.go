package s3test

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Kind is a kind of request, named as in the S3 documentation.
type Kind string

// The kinds that Pocket's store makes; everything else is Other.
const (
	GetObject     Kind = "GetObject"
	HeadObject    Kind = "HeadObject"
	PutObject     Kind = "PutObject"
	DeleteObject  Kind = "DeleteObject"
	ListObjectsV2 Kind = "ListObjectsV2"
	Other         Kind = "Other"
)

// KeyOf returns the key that a request is about: of a listing, the prefix.
func KeyOf(r *http.Request) string {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if key == "" {
		return r.URL.Query().Get("prefix")
	}
	return key
}

// KindOf tells what a request asks for.
func KindOf(r *http.Request) Kind {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case key == "" && r.Method == http.MethodGet && query.Get("list-type") == "2":
		return ListObjectsV2
	case key == "" || query.Has("uploads") || query.Has("uploadId"):
		return Other
	}
	switch r.Method {
	case http.MethodGet:
		return GetObject
	case http.MethodHead:
		return HeadObject
	case http.MethodPut:
		return PutObject
	case http.MethodDelete:
		return DeleteObject
	}
	return Other
}

// Fault stands in the way of a request: it answers itself, or lets next answer
// and meddles with that. It is called concurrently.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// On limits fault to requests of that kind.
func On(kind Kind, fault Fault) Fault {
	return When(func(r *http.Request) bool { return KindOf(r) == kind }, fault)
}

// OnKey limits fault to requests whose path contains part.
func OnKey(part string, fault Fault) Fault {
	return When(func(r *http.Request) bool { return strings.Contains(r.URL.Path, part) }, fault)
}

// When limits fault to requests that match.
func When(match func(*http.Request) bool, fault Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if match(r) {
			fault(w, r, next)
		} else {
			next.ServeHTTP(w, r)
		}
	}
}

// Times ends fault after n requests. Limit the kind inside out:
// On(PutObject, Times(2, f)).
func Times(n int, fault Fault) Fault {
	var seen atomic.Int64
	return When(func(*http.Request) bool { return seen.Add(1) <= int64(n) }, fault)
}

// After lets n requests pass and then begins fault.
func After(n int, fault Fault) Fault {
	var seen atomic.Int64
	return When(func(*http.Request) bool { return seen.Add(1) > int64(n) }, fault)
}

// Chain puts several faults in the way, the first one first.
func Chain(faults ...Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		for _, fault := range slices.Backward(faults) {
			inner := next
			next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fault(w, r, inner) })
		}
		next.ServeHTTP(w, r)
	}
}

// Delay serves every request d later, as a network far away does. It ends
// early when the client gives up or the server is stopped.
func Delay(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// Answer answers with an S3 error, such as 503 "SlowDown" or 403
// "SignatureDoesNotMatch".
func Answer(status int, code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		writeError(w, r, status, code, "said by s3test")
	}
}

// Page answers as something that is no S3 server: a login page, a proxy.
func Page(status int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		io.WriteString(w, "<html><head><title>Welcome</title></head><body><p>Please log in.</p></body></html>")
	}
}

// Reset breaks the connection without an answer.
func Reset() Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { reset(w) }
}

// LoseAnswer lets the server do what is asked and then breaks the connection:
// the client cannot know.
func LoseAnswer() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&nowhere{header: http.Header{}}, r)
		reset(w)
	}
}

// CutBody sends the first n bytes of the body that was announced and then
// closes the connection in order.
func CutBody(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutter{ResponseWriter: w, left: n, end: func() { panic(http.ErrAbortHandler) }}, r)
	}
}

// ResetBody sends the first n bytes of the body and then breaks the connection.
func ResetBody(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutter{ResponseWriter: w, left: n, end: func() { reset(w); panic(http.ErrAbortHandler) }}, r)
	}
}

// StallBody sends the first n bytes of the body and then nothing more until
// the client gives up or the server is stopped.
func StallBody(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutter{ResponseWriter: w, left: n, end: func() { <-r.Context().Done(); panic(http.ErrAbortHandler) }}, r)
	}
}

// Hang keeps the request waiting until release is closed and then serves it.
// It ends early when the client gives up or the server is stopped.
func Hang(release <-chan struct{}) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-release:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// reset closes the connection so that the client sees "connection reset".
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// cutter passes left bytes of the body on and then calls end.
type cutter struct {
	http.ResponseWriter
	left int
	end  func()
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) < c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	c.ResponseWriter.Write(p[:c.left])
	http.NewResponseController(c.ResponseWriter).Flush()
	c.end()
	return 0, io.ErrClosedPipe
}

// Unwrap lets other faults reach the connection.
func (c *cutter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// nowhere is a ResponseWriter that nobody reads.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}

// writeError writes an error as S3 does:
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func writeError(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	// A client that is still sending when the connection closes may miss the
	// answer; real services read on, too.
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	body, err := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		Resource  string
		RequestID string `xml:"RequestId"`
	}{Code: code, Message: message, Resource: r.URL.Path, RequestID: "s3test"})
	if err != nil {
		panic(fmt.Sprintf("s3test: encode an error: %v", err))
	}
	io.WriteString(w, xml.Header)
	w.Write(body)
}
