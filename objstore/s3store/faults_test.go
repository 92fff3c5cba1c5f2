package s3store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/s3store"
	"github.com/hamflx/pocket/objstore/storetest/faultproxy"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

const noLimit = 1 << 30

// calls returns one call of each method, to be tried against a server that
// has the object "k".
func calls(ctx context.Context, s *s3store.Store) map[string]func() error { return callsOf(ctx, s) }

// callsOf is calls for a store that was decorated.
func callsOf(ctx context.Context, s objstore.Store) map[string]func() error {
	return map[string]func() error{
		"get": func() error { _, err := s.Get(ctx, "k", noLimit); return err },
		"getIfChanged": func() error {
			_, _, err := s.(objstore.ConditionalGetter).GetIfChanged(ctx, "k", `"old"`, noLimit)
			return err
		},
		"stat":     func() error { _, err := s.(objstore.Stater).Stat(ctx, "k"); return err },
		"put":      func() error { return s.Put(ctx, "k", []byte("new")) },
		"putLarge": func() error { return s.Put(ctx, "k", make([]byte, 3<<20)) },
		"delete":   func() error { return s.Delete(ctx, "k") },
		"list":     func() error { _, err := list(ctx, s); return err },
	}
}

func list(ctx context.Context, s objstore.Store) (keys []string, err error) {
	for info, err := range s.List(ctx, "", "") {
		if err != nil {
			return keys, err
		}
		keys = append(keys, info.Key)
	}
	return keys, nil
}

func TestAnswersOfTheServiceAreToldByKind(t *testing.T) {
	srv := s3test.New(t)
	require.NoError(t, srv.SetObject("k", []byte("v")))
	s := open(t, configOf(srv))
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{403, "SignatureDoesNotMatch", objstore.ErrPermission},
		{403, "InvalidAccessKeyId", objstore.ErrPermission},
		{403, "AccessDenied", objstore.ErrPermission},
		{401, "Unauthorized", objstore.ErrPermission},
		{400, "ExpiredToken", objstore.ErrPermission},
		{404, "NoSuchBucket", objstore.ErrNoBucket},
		{503, "SlowDown", objstore.ErrUnavailable},
		{429, "TooManyRequests", objstore.ErrUnavailable},
		{500, "InternalError", objstore.ErrUnavailable},
		{502, "BadGateway", objstore.ErrUnavailable},
		{504, "GatewayTimeout", objstore.ErrUnavailable},
		{400, "RequestTimeout", objstore.ErrUnavailable},
		{409, "OperationAborted", objstore.ErrUnavailable},
		{403, "RequestTimeTooSkewed", objstore.ErrUnavailable},
		{507, "XMinioStorageFull", objstore.ErrNoSpace},
		{403, "QuotaExceeded", objstore.ErrNoSpace},
		{501, "NotImplemented", objstore.ErrFailed},
		{400, "InvalidRequest", objstore.ErrFailed},
		{301, "PermanentRedirect", objstore.ErrFailed},
		{400, "AuthorizationHeaderMalformed", objstore.ErrFailed},
		{403, "SecondLevelDomainForbidden", objstore.ErrFailed},
		{404, "SomethingElse", objstore.ErrUnavailable},
	} {
		srv.SetFault(s3test.Answer(c.status, c.code))
		for name, call := range calls(t.Context(), s) {
			err := call()
			if name == "stat" && c.status != 404 {
				// An answer to HEAD has the status alone to go by.
				require.Error(t, err, "%s: %d %s", name, c.status, c.code)
				require.NotErrorIs(t, err, objstore.ErrNotExist)
				continue
			}
			require.ErrorIs(t, err, c.want, "%s: %d %s", name, c.status, c.code)
			require.ErrorContains(t, err, `s3 bucket "pocket-test"`)
			require.ErrorContains(t, err, c.code)
			require.NotContains(t, err.Error(), srv.SecretAccessKey)
			require.NotContains(t, err.Error(), "\n")
		}
	}
	body, ok := srv.Object("k")
	require.True(t, ok)
	require.Equal(t, "v", string(body))
}

func TestMissingBucketIsErrNoBucket(t *testing.T) {
	srv := s3test.New(t)
	cfg := configOf(srv)
	cfg.Bucket = "no-such-bucket"
	for name, call := range calls(t.Context(), open(t, cfg)) {
		err := call()
		require.ErrorIs(t, err, objstore.ErrNoBucket, name)
		require.ErrorContains(t, err, "no-such-bucket", name)
	}
}

// What answers in the place of S3 has not been asked for the object.
func TestAnswersThatAreNotOfS3AreErrUnavailable(t *testing.T) {
	srv := s3test.New(t)
	s := open(t, configOf(srv))
	for _, status := range []int{200, 204, 302, 404, 503} {
		srv.SetFault(s3test.Page(status))
		for name, call := range calls(t.Context(), s) {
			if name == "delete" && status < 300 {
				continue // there is nothing in the answer to tell by, and nothing is lost
			}
			err := call()
			require.ErrorIs(t, err, objstore.ErrUnavailable, "%s: %d", name, status)
		}
	}
}

func TestBodyThatDoesNotArriveWholeIsAnError(t *testing.T) {
	srv := s3test.New(t)
	for _, size := range []int{10, 100_000, 1 << 20} {
		require.NoError(t, srv.SetObject("k", make([]byte, size)))
		s := open(t, configOf(srv))
		for name, fault := range map[string]s3test.Fault{
			"nothing": s3test.CutBody(0), "half": s3test.CutBody(size / 2), "all but one": s3test.CutBody(size - 1),
			"reset": s3test.ResetBody(size / 2), "no answer": s3test.Reset(),
		} {
			srv.SetFault(s3test.On(s3test.GetObject, fault))
			body, err := s.Get(t.Context(), "k", noLimit)
			require.ErrorIs(t, err, objstore.ErrUnavailable, name)
			require.Empty(t, body, name)
			_, _, err = s.GetIfChanged(t.Context(), "k", "", noLimit)
			require.ErrorIs(t, err, objstore.ErrUnavailable, name)
		}
	}
}

// raw answers with hand-written HTTP on a server of its own.
func raw(t *testing.T, answer string) *s3store.Store {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			conn.Write([]byte(strings.ReplaceAll(answer, "\n", "\r\n")))
			conn.Close()
		}
	}()
	return open(t, s3store.Config{Bucket: "b-u-c", Endpoint: "http://" + listener.Addr().String(),
		Credentials: func(context.Context) (string, string, string, error) { return "id", "secret", "", nil }})
}

func TestBodyWithoutALengthIsRefusedUnlessItsEndIsMarked(t *testing.T) {
	_, err := raw(t, "HTTP/1.1 200 OK\nETag: \"x\"\nConnection: close\n\nhello").Get(t.Context(), "k", noLimit)
	require.ErrorIs(t, err, objstore.ErrUnavailable, "it may have been cut")

	body, err := raw(t, "HTTP/1.1 200 OK\nETag: \"x\"\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n").Get(t.Context(), "k", 5)
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))
	_, err = raw(t, "HTTP/1.1 200 OK\nETag: \"x\"\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n").Get(t.Context(), "k", 4)
	require.ErrorIs(t, err, objstore.ErrTooLarge)
	_, err = raw(t, "HTTP/1.1 200 OK\nETag: \"x\"\nTransfer-Encoding: chunked\n\n5\nhello\n").Get(t.Context(), "k", noLimit)
	require.ErrorIs(t, err, objstore.ErrUnavailable)
}

// A clock that is wrong is told by a 403 too, so that one alone refuses nothing.
func TestRefusalThatIsCutOffIsErrUnavailable(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": "", "half of the code": "<Error><Code>RequestTime", "all but the end": "<Error><Code>AccessDenied</Code>",
	} {
		for framing, head := range map[string]string{
			"length": "Content-Length: 300\n\n" + body, "chunks": "Transfer-Encoding: chunked\n\n12c\n" + body,
		} {
			s := raw(t, "HTTP/1.1 403 Forbidden\nContent-Type: application/xml\n"+head)
			for op, call := range calls(t.Context(), s) {
				if op != "stat" { // HEAD, whose answers have no body
					require.ErrorIs(t, call(), objstore.ErrUnavailable, "%s, %s, %s", op, name, framing)
				}
			}
		}
	}
}

// What has no ETag may be anybody's answer, but who runs a service that sends none is told what to do.
func TestAnswerWithoutAnETagIsNotBelieved(t *testing.T) {
	s := raw(t, "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello")
	_, err := s.Get(t.Context(), "k", noLimit)
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.ErrorContains(t, err, "no ETag")
	require.ErrorContains(t, err, "--nometa")
	_, err = s.Stat(t.Context(), "k")
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.ErrorContains(t, err, "no ETag")
	s = raw(t, "HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	err = s.Put(t.Context(), "k", []byte("hello"))
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.ErrorContains(t, err, "no ETag")
}

// A service's word for the size of an object costs no memory, nor does what follows the size it gave.
func TestMemoryForABodyFollowsWhatArrives(t *testing.T) {
	const said = 1 << 30
	lies := raw(t, fmt.Sprintf("HTTP/1.1 200 OK\nETag: \"x\"\nContent-Length: %d\n\nhello", said))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := lies.Get(t.Context(), "k", said)
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	_, _, err = lies.GetHashed(t.Context(), "k", said, func(size int64) []byte { return make([]byte, size) })
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(said/10))

	body, err := raw(t, "HTTP/1.1 200 OK\nETag: \"x\"\nContent-Length: 5\n\nhello and more").Get(t.Context(), "k", 100)
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))

	srv := s3test.New(t)
	want := make([]byte, 37<<20)
	rand.NewChaCha8([32]byte{}).Read(want)
	require.NoError(t, srv.SetObject("k", want))
	body, sum, err := open(t, configOf(srv)).GetHashed(t.Context(), "k", noLimit, func(int64) []byte { panic("it is not there yet") })
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, body))
	require.EqualValues(t, sha256.Sum256(want), sum)
}

func TestListingThatCannotBeTrustedIsAnError(t *testing.T) {
	listing := func(inner string) error {
		body := "<?xml version=\"1.0\"?><ListBucketResult><Name>b-u-c</Name><MaxKeys>1000</MaxKeys>" + inner + "</ListBucketResult>"
		_, err := list(t.Context(), raw(t, fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\n\n%s", len(body), body)))
		return err
	}
	require.NoError(t, listing("<IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents><Contents><Key>folder/</Key></Contents>"))
	require.ErrorIs(t, listing("<EncodingType>url</EncodingType><Contents><Key>%zz</Key></Contents>"), objstore.ErrCorrupt)
	require.ErrorIs(t, listing("<IsTruncated>true</IsTruncated><Contents><Key>a</Key></Contents>"), objstore.ErrCorrupt)
	require.ErrorIs(t, listing("<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken><Contents><Key>a</Key></Contents>"), objstore.ErrCorrupt,
		"the same page again and again")
	require.ErrorIs(t, listing("<Contents><Key>"+strings.Repeat("endless", 3<<20)+"</Key></Contents>"), objstore.ErrUnavailable, "endless")
}

func TestEncodedKeysOfAListingAreDecoded(t *testing.T) {
	body := "<ListBucketResult><Name>b-u-c</Name><EncodingType>url</EncodingType><Contents><Key>a%2Fb+c%2B%E3%83%9D</Key></Contents></ListBucketResult>"
	keys, err := list(t.Context(), raw(t, fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\n\n%s", len(body), body)))
	require.NoError(t, err)
	require.Equal(t, []string{"a/b c+\u30dd"}, keys)
}

func TestListThatFailsHalfWayIsAnErrorAndRetryGoesOn(t *testing.T) {
	srv := s3test.New(t)
	var want []string
	for i := range 2100 {
		want = append(want, fmt.Sprintf("data/%04d", i))
		require.NoError(t, srv.SetObject(want[i], nil))
	}
	s := open(t, configOf(srv))

	srv.SetFault(s3test.On(s3test.ListObjectsV2, s3test.After(1, s3test.Answer(503, "SlowDown"))))
	keys, err := list(t.Context(), s)
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.Equal(t, want[:1000], keys, "what was listed holds")

	requests := 0
	srv.SetFault(s3test.When(func(*http.Request) bool { requests++; return requests%2 == 0 }, s3test.CutBody(500)))
	keys, err = list(t.Context(), objstore.WithRetry(s, objstore.RetryPolicy{MinWait: time.Microsecond}))
	require.NoError(t, err)
	require.Equal(t, want, keys)
	require.Equal(t, 5, requests)
}

func TestServerGoneIsErrUnavailableUntilItIsBack(t *testing.T) {
	ctx := t.Context()
	srv := s3test.New(t)
	s := open(t, configOf(srv))
	require.NoError(t, s.Put(ctx, "k", []byte("kept")))
	for range 2 {
		srv.Stop()
		// The first call may find a connection that the server has closed.
		_, err := s.Get(ctx, "k", noLimit)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		for name, call := range calls(ctx, s) {
			err := call()
			require.ErrorIs(t, err, objstore.ErrUnavailable, name)
			require.ErrorContains(t, err, "refused", name)
		}
		require.NoError(t, srv.Restart())
		body, err := s.Get(ctx, "k", noLimit)
		require.NoError(t, err)
		require.Equal(t, "kept", string(body))
	}

	srv.Stop()
	var once sync.Once
	retry := objstore.WithRetry(s, objstore.RetryPolicy{MinWait: time.Millisecond, Budget: -1, Observe: func(err error) {
		if err != nil {
			once.Do(func() { err = srv.Restart() })
		}
	}})
	require.NoError(t, retry.Put(ctx, "k", []byte("again")))
}

func TestLostAnswerOfAPutIsMadeGoodByRepeatingIt(t *testing.T) {
	srv := s3test.New(t)
	s := open(t, configOf(srv))
	srv.SetFault(s3test.On(s3test.PutObject, s3test.Times(1, s3test.LoseAnswer())))
	require.ErrorIs(t, s.Put(t.Context(), "k", []byte("v")), objstore.ErrUnavailable)
	body, ok := srv.Object("k")
	require.True(t, ok, "it was written all the same")
	require.Equal(t, "v", string(body))
	require.NoError(t, s.Put(t.Context(), "k", []byte("v")))
}

func TestRequestThatStandsStillIsGivenUp(t *testing.T) {
	srv := s3test.New(t)
	require.NoError(t, srv.SetObject("k", make([]byte, 1<<20)))
	cfg := configOf(srv)
	cfg.Timeout = 50 * time.Millisecond
	s := open(t, cfg)
	for name, fault := range map[string]s3test.Fault{"no answer": s3test.Hang(nil), "half a body": s3test.StallBody(100)} {
		srv.SetFault(s3test.When(func(r *http.Request) bool { return r.Method == http.MethodGet }, fault))
		for _, call := range []string{"get", "list"} {
			err := calls(t.Context(), s)[call]()
			require.ErrorIs(t, err, objstore.ErrUnavailable, "%s: %s", name, call)
			require.NotErrorIs(t, err, context.DeadlineExceeded, "that is for the caller's own")
			require.NotErrorIs(t, err, context.Canceled)
		}
	}
	srv.SetFault(s3test.On(s3test.PutObject, s3test.Hang(nil)))
	err := s.Put(t.Context(), "k", []byte("v"))
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.ErrorContains(t, err, "stood still")
}

func TestCancelledCallReturnsAtOnceAndLeavesTheBodyAlone(t *testing.T) {
	srv := s3test.New(t)
	s := open(t, configOf(srv))
	arrived := make(chan struct{}, 16)
	srv.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		arrived <- struct{}{}
		s3test.Hang(nil)(w, r, next)
	})
	for name := range calls(t.Context(), s) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- calls(ctx, s)[name]() }()
		<-arrived
		cancel()
		require.ErrorIs(t, <-done, context.Canceled, name)
	}

	// The race detector sees a client that still reads the body.
	body := bytes.Repeat([]byte("x"), 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	require.ErrorIs(t, s.Put(ctx, "k", body), context.Canceled)
	clear(body)
}

func TestRequestsAtOnceAreLimited(t *testing.T) {
	srv := s3test.New(t)
	cfg := configOf(srv)
	cfg.MaxConns = 3
	s := open(t, cfg)
	require.NoError(t, srv.SetObject("k", []byte("v")))

	var now, most atomic.Int64
	three := make(chan struct{})
	srv.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 3 {
			select {
			case <-three:
			default:
				close(three)
			}
		}
		<-three // so that the first three are at work at once
		next.ServeHTTP(w, r)
	})
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range 20 {
		wg.Go(func() {
			if _, err := s.Get(t.Context(), "k", noLimit); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load())
	require.EqualValues(t, 3, most.Load())

	// Waiting for a slot ends with the caller's context.
	release := make(chan struct{})
	defer close(release)
	arrived := make(chan struct{}, 3)
	srv.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		arrived <- struct{}{}
		s3test.Hang(release)(w, r, next)
	})
	for range 3 {
		wg.Go(func() { s.Get(t.Context(), "k", noLimit) })
		<-arrived
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Get(ctx, "k", noLimit)
	require.ErrorIs(t, err, context.Canceled)
}

func TestClockThatIsWrongIsCorrectedByTheNextAttempt(t *testing.T) {
	srv := s3test.New(t)
	s := open(t, configOf(srv))
	var dates []string
	srv.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		dates = append(dates, r.Header.Get("X-Amz-Date"))
		if len(dates) == 1 {
			w.Header().Set("Date", time.Now().Add(-3*time.Hour).UTC().Format(http.TimeFormat))
			s3test.Answer(403, "RequestTimeTooSkewed")(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	require.NoError(t, objstore.WithRetry(s, objstore.RetryPolicy{MinWait: time.Microsecond}).Put(t.Context(), "k", nil))
	require.GreaterOrEqual(t, len(dates), 2)
	first, err := time.Parse("20060102T150405Z", dates[0])
	require.NoError(t, err)
	second, err := time.Parse("20060102T150405Z", dates[1])
	require.NoError(t, err)
	require.Greater(t, first.Sub(second), 2*time.Hour, "signed with the service's time")
}

// What passes is made good by trying again, through a proxy that does it to one
// request after the other; what a person must mend is told at once.
func TestRetryableFaultsPassAndOthersAreToldAtOnce(t *testing.T) {
	srv := s3test.New(t)
	proxy, err := faultproxy.Start(srv.Endpoint, faultproxy.Options{Seed: 1})
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	cfg := configOf(srv)
	cfg.Endpoint = proxy.Endpoint
	patient := open(t, cfg)
	cfg.Timeout = 200 * time.Millisecond
	impatient := open(t, cfg)
	for _, c := range []struct {
		rule    string
		want    error    // of the first attempt, for the calls it is for; nil: it may pass
		not     []string // calls that it does nothing to
		without string   // a call that is left out
	}{
		{rule: "503", want: objstore.ErrUnavailable},
		{rule: "503=1s", want: objstore.ErrUnavailable},
		{rule: "429", want: objstore.ErrUnavailable},
		{rule: "429=1s", want: objstore.ErrUnavailable},
		{rule: "500", want: objstore.ErrUnavailable},
		{rule: "reset", want: objstore.ErrUnavailable},
		{rule: "lost-answer", want: objstore.ErrUnavailable},
		{rule: "hang:GetObject", want: objstore.ErrUnavailable, not: []string{"stat", "put", "putLarge", "delete", "list"}},
		{rule: "page=200", want: objstore.ErrUnavailable, not: []string{"delete"}},
		{rule: "page=302", want: objstore.ErrUnavailable},
		{rule: "page=404", want: objstore.ErrUnavailable},
		{rule: "page=503", want: objstore.ErrUnavailable},
		{rule: "reset-upload=0:PutObject", want: objstore.ErrUnavailable, not: []string{"get", "getIfChanged", "stat", "delete", "list"}},
		{rule: "cut-body=1:GetObject", want: objstore.ErrUnavailable, not: []string{"stat", "put", "putLarge", "delete", "list"}},
		{rule: "reset-body=1:GetObject", want: objstore.ErrUnavailable, not: []string{"stat", "put", "putLarge", "delete", "list"}},
		{rule: "stall-body=1:GetObject", want: objstore.ErrUnavailable, not: []string{"stat", "put", "putLarge", "delete", "list"}},
		{rule: "cut-body=9:ListObjectsV2", want: objstore.ErrUnavailable, not: []string{"get", "getIfChanged", "stat", "put", "putLarge", "delete"}},
		{rule: "delay=20ms"},
		{rule: "slow=40000000"},
		{rule: "ignore-conditions"},
		{rule: "refuse-conditions"},
		{rule: "403", want: objstore.ErrPermission},
		{rule: "no-bucket", want: objstore.ErrNoBucket},
	} {
		rule, err := faultproxy.ParseRule(c.rule)
		require.NoError(t, err)
		passes := c.want == nil || c.want == objstore.ErrUnavailable
		stands := strings.HasPrefix(c.rule, "hang") || strings.HasPrefix(c.rule, "stall")
		for _, name := range []string{"get", "getIfChanged", "stat", "put", "putLarge", "delete", "list"} {
			what := c.rule + ", " + name
			s := patient
			if stands && !slices.Contains(c.not, name) {
				s = impatient
			}
			require.NoError(t, srv.SetObject("k", []byte("content")))
			proxy.Set(rule)
			err := calls(t.Context(), s)[name]()
			if c.want == nil || slices.Contains(c.not, name) {
				require.NoError(t, err, what)
				continue
			}
			require.ErrorIs(t, err, c.want, what)
			require.NotErrorIs(t, err, objstore.ErrNotExist, what)
			require.Equal(t, passes, objstore.Retryable(err), what)

			// Three requests meet it, and then it is over.
			require.NoError(t, srv.SetObject("k", []byte("content")))
			attempts := 0
			retry := objstore.WithRetry(s, objstore.RetryPolicy{MinWait: time.Microsecond, MaxWait: time.Millisecond, Budget: -1, Observe: func(err error) {
				if attempts++; attempts == 3 {
					proxy.Set()
				}
			}})
			err = callsOf(t.Context(), retry)[name]()
			if passes {
				require.NoError(t, err, what)
				if s == patient {
					require.Equal(t, 4, attempts, what)
				} else { // so may a request of a machine that is busy
					require.GreaterOrEqual(t, attempts, 4, what)
				}
			} else {
				require.ErrorIs(t, err, c.want, what)
				require.Equal(t, 1, attempts, what)
			}
		}
	}

	// The service's clock: the first answer tells the client, the next attempt is right.
	for _, skew := range []string{"skew=20m", "skew=-3h", "skew=0s"} {
		rule, err := faultproxy.ParseRule(skew)
		require.NoError(t, err)
		proxy.Set(rule)
		retry := objstore.WithRetry(patient, objstore.RetryPolicy{MinWait: time.Microsecond})
		require.NoError(t, retry.Put(t.Context(), "k", []byte("v")), skew)
		_, err = retry.Get(t.Context(), "k", noLimit)
		require.NoError(t, err, skew)
	}
	proxy.Set()
	proxy.Cut()
	for name, call := range calls(t.Context(), patient) {
		require.ErrorIs(t, call(), objstore.ErrUnavailable, name)
	}
	require.NoError(t, proxy.Join())
	require.NoError(t, patient.Put(t.Context(), "k", nil))
}

// Content that was changed on the way has another hash: the store hands out what it got,
// and whoever knows the hash finds out.
func TestFlippedBitIsNotTheStoresToSee(t *testing.T) {
	srv := s3test.New(t)
	require.NoError(t, srv.SetObject("k", []byte("content")))
	s := open(t, configOf(srv))
	srv.SetFault(s3test.On(s3test.GetObject, s3test.FlipBody(3)))
	body, err := s.Get(t.Context(), "k", noLimit)
	require.NoError(t, err)
	require.NotEqual(t, "content", string(body))
	require.Len(t, body, len("content"))
}

// Once the store is known to answer again nobody waits long for what was lost meanwhile.
func TestHurryEndsRequestsThatStandStill(t *testing.T) {
	srv := s3test.New(t)
	require.NoError(t, srv.SetObject("k", []byte("v")))
	s := open(t, configOf(srv))
	arrived := make(chan struct{}, 2)
	srv.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		io.Copy(io.Discard, r.Body) // as long as it is sent something moves
		arrived <- struct{}{}
		s3test.Hang(nil)(w, r, next)
	})
	failed := make(chan error, 2)
	for _, name := range []string{"get", "put"} {
		go func() { failed <- calls(t.Context(), s)[name]() }()
		<-arrived
	}
	hurrier, ok := objstore.As[objstore.Hurrier](objstore.WithPrefix(s, "p/"))
	require.True(t, ok)
	hurrier.Hurry(10 * time.Millisecond)
	for range 2 {
		err := <-failed
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.ErrorContains(t, err, "stood still")
	}
	srv.SetFault(nil)
	require.NoError(t, s.Put(t.Context(), "k", []byte("v")))
}

// After a sleep nobody waits for an answer that cannot come.
func TestReconnectEndsRequestsUnderWay(t *testing.T) {
	srv := s3test.New(t)
	require.NoError(t, srv.SetObject("k", []byte("v")))
	s := open(t, configOf(srv))
	arrived := make(chan struct{}, 1)
	srv.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		arrived <- struct{}{}
		s3test.Hang(nil)(w, r, next)
	})
	failed := make(chan error, 1)
	go func() {
		_, err := s.Get(t.Context(), "k", 10)
		failed <- err
	}()
	<-arrived
	s.Reconnect()
	err := <-failed
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.True(t, objstore.Retryable(err))
	require.ErrorContains(t, err, "asleep")
	srv.SetFault(nil)
	_, err = s.Get(t.Context(), "k", 10)
	require.NoError(t, err)
	s.Reconnect() // with nothing under way
}
