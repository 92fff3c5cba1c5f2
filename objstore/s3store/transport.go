package s3store

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	// A listing of a thousand keys, each of 1024 characters escaped as three,
	// has less than 4 MiB; an error has a few hundred bytes. The SDK would read
	// whatever comes.
	maxListing = 16 << 20
	maxError   = 1 << 20
)

// transport is the SDK's HTTP client. It limits answers that the SDK reads
// whole and tells the request of the bytes that arrive.
type transport struct {
	client http.Client
	base   *http.Transport
}

func newTransport(from aws.HTTPClient, cfg Config) *transport {
	buildable, ok := from.(*awshttp.BuildableClient)
	if !ok {
		buildable = awshttp.NewBuildableClient()
	}
	base := buildable.GetTransport() // a copy
	base.DialContext = (&net.Dialer{Timeout: min(cfg.Timeout, 15*time.Second), KeepAlive: 15 * time.Second}).DialContext
	base.TLSHandshakeTimeout = min(cfg.Timeout, 15*time.Second)
	base.ExpectContinueTimeout = time.Second
	base.IdleConnTimeout = 60 * time.Second
	base.MaxIdleConns = cfg.MaxConns
	base.MaxIdleConnsPerHost = cfg.MaxConns
	base.MaxConnsPerHost = 0 // Store.slots limits them, before a request's time runs
	base.DisableCompression = true
	base.ReadBufferSize = 16 << 10  // a small object and its header in one read
	base.WriteBufferSize = 16 << 10 // and in one write
	// One connection per request: many small windows beat a shared one, and a
	// lost packet stops one transfer instead of all.
	base.ForceAttemptHTTP2 = false
	base.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	// The time-out of answers is the request's own: see request.
	return &transport{base: base, client: http.Client{
		Transport: base,
		// S3 answers with a redirect when the region is wrong; following it
		// breaks the signature. Login pages redirect, too.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do implements the SDK's HTTPClient.
func (t *transport) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	body := &recvBody{ReadCloser: resp.Body, request: requestOf(req.Context())}
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		body.most = maxError
	case req.URL.Query().Has("list-type"):
		body.most = maxListing
	}
	resp.Body = body
	return resp, nil
}

// dropIdle closes the connections kept for reuse. After a sleep or a change of
// network all of them are dead, and each would cost a time-out of its own.
func (t *transport) dropIdle() { t.base.CloseIdleConnections() }

// recvBody is the body of an answer.
type recvBody struct {
	io.ReadCloser
	request *request
	most    int // bytes to accept; 0: no limit
	read    int
}

var errAnswerTooLong = errors.New("the answer is longer than any of S3")

func (b *recvBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.request != nil {
		b.request.progress(n)
	}
	if b.read += n; b.most > 0 && b.read > b.most {
		return 0, errAnswerTooLong
	}
	return n, err
}
