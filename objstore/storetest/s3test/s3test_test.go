package s3test_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

func do(t *testing.T, method, url string, header http.Header) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(all)
}

func TestRequestsWithoutAGoodSignatureAreRefused(t *testing.T) {
	srv := s3test.New(t)
	require.NoError(t, srv.SetObject("k", []byte("v")))
	signed := func(credential, payload string) http.Header {
		return http.Header{"Authorization": {"AWS4-HMAC-SHA256 Credential=" + credential + ", SignedHeaders=host, Signature=00"}, "X-Amz-Content-Sha256": {payload}}
	}
	scope := "/20260101/us-east-1/s3/aws4_request"
	for code, header := range map[string]http.Header{
		"AccessDenied":                 {},
		"InvalidAccessKeyId":           signed("SOMEBODY"+scope, "UNSIGNED-PAYLOAD"),
		"AuthorizationHeaderMalformed": signed(srv.AccessKeyID+"/x", "UNSIGNED-PAYLOAD"),
		"SignatureDoesNotMatch":        signed(srv.AccessKeyID+scope, "UNSIGNED-PAYLOAD"),
		"NotImplemented":               signed(srv.AccessKeyID+scope, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
	} {
		status, body := do(t, http.MethodGet, srv.Endpoint+"/"+srv.Bucket+"/k", header)
		require.GreaterOrEqual(t, status, 400, code)
		require.Contains(t, body, "<Code>"+code+"</Code>")
		require.NotContains(t, body, srv.SecretAccessKey)
	}
	require.Equal(t, 5, srv.Count(s3test.GetObject))
}

func TestObjectsOutliveAStop(t *testing.T) {
	srv := s3test.New(t)
	endpoint := srv.Endpoint
	require.NoError(t, srv.SetObject("a/k", []byte("v")))
	srv.Stop()
	_, err := http.Get(endpoint)
	require.Error(t, err)
	require.NoError(t, srv.Restart())
	require.Error(t, srv.Restart(), "it is running")
	require.Equal(t, endpoint, srv.Endpoint)
	body, ok := srv.Object("a/k")
	require.True(t, ok)
	require.Equal(t, "v", string(body))
	keys, err := srv.Keys("a/")
	require.NoError(t, err)
	require.Equal(t, []string{"a/k"}, keys)
	_, ok = srv.Object("missing")
	require.False(t, ok)
}

func TestStopEndsRequestsThatHang(t *testing.T) {
	srv := s3test.New(t)
	arrived := make(chan struct{})
	srv.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		close(arrived)
		s3test.Chain(s3test.Delay(time.Nanosecond), s3test.Hang(nil))(w, r, next)
	})
	failed := make(chan error, 1)
	go func() {
		_, err := http.Post(srv.Endpoint+"/b/k", "", strings.NewReader("x"))
		failed <- err
	}()
	<-arrived
	srv.Stop()
	require.Error(t, <-failed)
}

func TestChainedFaultsComeInOrder(t *testing.T) {
	srv := s3test.New(t)
	srv.SetFault(s3test.Chain(s3test.Times(1, s3test.Answer(503, "First")), s3test.OnKey("/k", s3test.Answer(503, "Second"))))
	for _, want := range []string{"First", "Second", "Second"} {
		_, body := do(t, http.MethodGet, srv.Endpoint+"/b/k", nil)
		require.Contains(t, body, want)
	}
}
