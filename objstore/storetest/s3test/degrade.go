package s3test

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// RetryAfter adds to what fault answers for how long the client is to stay away.
func RetryAfter(d time.Duration, fault Fault) Fault {
	seconds := strconv.Itoa(int((d + time.Second - 1) / time.Second))
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("Retry-After", seconds)
		fault(w, r, next)
	}
}

// Slow lets bodies through at that many bytes a second, each way and each
// request for itself.
func Slow(bytesPerSecond int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		pace := &pace{r: r, rate: bytesPerSecond}
		if r.Body != nil && r.ContentLength != 0 {
			r.Body = &slowBody{r.Body, pace}
		}
		next.ServeHTTP(&slowWriter{w, pace}, r)
	}
}

// pace holds a body up so that it keeps to its rate.
type pace struct {
	r     *http.Request
	rate  int
	begun time.Time
	bytes int
}

// slowPiece is how much of a slow body passes at once.
const slowPiece = 16 << 10

// wait waits until n more bytes are due, and fails when the request ends before.
func (p *pace) wait(n int) error {
	if p.begun.IsZero() {
		p.begun = time.Now()
	}
	p.bytes += n
	due := p.begun.Add(time.Duration(float64(p.bytes) / float64(p.rate) * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.r.Context().Done():
		return p.r.Context().Err()
	}
}

type slowBody struct {
	io.ReadCloser
	pace *pace
}

func (b *slowBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), slowPiece)])
	if ended := b.pace.wait(n); ended != nil {
		return n, ended
	}
	return n, err
}

type slowWriter struct {
	http.ResponseWriter
	pace *pace
}

func (w *slowWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		piece := p[:min(len(p), slowPiece)]
		if err := w.pace.wait(len(piece)); err != nil {
			return n, err
		}
		var m int
		m, err = w.ResponseWriter.Write(piece)
		http.NewResponseController(w.ResponseWriter).Flush()
		n, p = n+m, p[len(piece):]
	}
	return n, err
}

// Unwrap lets other faults reach the connection.
func (w *slowWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ResetUpload takes the first n bytes of the body that the client sends and
// then breaks the connection.
func ResetUpload(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.CopyN(io.Discard, r.Body, int64(n))
		reset(w)
	}
}

// FlipBody changes one bit of every body that is not empty: of the byte at
// offset at, counted round and round.
func FlipBody(at int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&flipper{ResponseWriter: w, at: at}, r)
	}
}

type flipper struct {
	http.ResponseWriter
	at   int
	done bool
	seen int
}

func (f *flipper) WriteHeader(status int) {
	if length, err := strconv.Atoi(f.Header().Get("Content-Length")); err == nil && length > 0 {
		f.at %= length
	}
	f.done = f.done || status < 200 || status > 299
	f.ResponseWriter.WriteHeader(status)
}

func (f *flipper) Write(p []byte) (int, error) {
	if at := f.at - f.seen; !f.done && at >= 0 && at < len(p) {
		p = append([]byte(nil), p...)
		p[at] ^= 1 << (f.at % 8)
		f.done = true
	}
	f.seen += len(p)
	return f.ResponseWriter.Write(p)
}

// Unwrap lets other faults reach the connection.
func (f *flipper) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// Skew is a service whose clock is ahead of the client's by d: it dates its
// answers so and refuses requests that were signed more than 15 minutes from
// its own time, as S3 does.
func Skew(d time.Duration) Fault {
	const allowed = 15 * time.Minute
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		now := time.Now().Add(d)
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err == nil && now.Sub(signed).Abs() > allowed {
			writeError(w, r, http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
			return
		}
		next.ServeHTTP(w, r)
	}
}

// conditions are the headers of a conditional request.
var conditions = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

// conditional reports whether a request depends on the object's state.
func conditional(r *http.Request) bool {
	for _, name := range conditions {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}

// RefuseConditions answers 501 to conditional writes, as services do that lack
// them.
func RefuseConditions() Fault {
	refuse := Answer(http.StatusNotImplemented, "NotImplemented")
	return When(func(r *http.Request) bool { return r.Method == http.MethodPut && conditional(r) }, refuse)
}

// ignoreHeader asks this package's server to leave the conditions of a request
// out of account. They cannot be taken from the request on the way, since they
// are signed.
const ignoreHeader = "X-S3test-Ignore-Conditions"

// IgnoreConditions has conditional requests served as if they had no condition,
// as services do that do not know them. It works in front of this package's
// server only.
func IgnoreConditions() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Set(ignoreHeader, "yes")
		next.ServeHTTP(w, r)
	}
}

// ignoreConditions does what IgnoreConditions asked for.
func ignoreConditions(r *http.Request) {
	if r.Header.Get(ignoreHeader) == "" {
		return
	}
	for _, name := range conditions {
		r.Header.Del(name)
	}
}
