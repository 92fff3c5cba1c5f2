package s3store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
)

// sent keeps the last request, and answers it with an object.
type sent struct{ req *http.Request }

func (s *sent) RoundTrip(req *http.Request) (*http.Response, error) {
	s.req = req
	if req.Body != nil {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
	}
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Etag": {`"x"`}, "Content-Length": {"4"}}, ContentLength: 4, Body: io.NopCloser(bytes.NewReader([]byte("body"))),
	}, nil
}

var credential = regexp.MustCompile(`Credential=([^,]+)`)

// to tells where a request went, and for whom and what it was signed.
func (s *sent) to() [4]string {
	u := *s.req.URL
	u.RawQuery = "" // in which the SDK names the operation
	return [...]string{s.req.Method, u.String(), cmp.Or(s.req.Host, u.Host), credential.FindString(s.req.Header.Get("Authorization"))}
}

// Where the SDK sends its requests, with AWS's own addresses too, plain ones go.
func TestPlainRequestsGoWhereThoseOfTheSDKGo(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		env  map[string]string
		want string
	}{
		"AWS":             {Config{Bucket: "b-u-c", Region: "eu-central-1"}, nil, "https://b-u-c.s3.eu-central-1.amazonaws.com"},
		"no region":       {Config{Bucket: "b-u-c"}, nil, "https://b-u-c.s3.us-east-1.amazonaws.com"},
		"China":           {Config{Bucket: "b-u-c", Region: "cn-north-1"}, nil, "https://b-u-c.s3.cn-north-1.amazonaws.com.cn"},
		"dots":            {Config{Bucket: "with.dots", Region: "eu-central-1"}, nil, "https://s3.eu-central-1.amazonaws.com/with.dots"},
		"upper case":      {Config{Bucket: "Legacy_Bucket", Region: "us-east-1"}, nil, "https://s3.us-east-1.amazonaws.com/Legacy_Bucket"},
		"path":            {Config{Bucket: "b-u-c", Region: "eu-central-1", PathStyle: PathAlways}, nil, "https://s3.eu-central-1.amazonaws.com/b-u-c"},
		"dual stack":      {Config{Bucket: "b-u-c", Region: "eu-central-1"}, map[string]string{"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://b-u-c.s3.dualstack.eu-central-1.amazonaws.com"},
		"FIPS":            {Config{Bucket: "b-u-c", Region: "us-west-2"}, map[string]string{"AWS_USE_FIPS_ENDPOINT": "true"}, "https://b-u-c.s3-fips.us-west-2.amazonaws.com"},
		"FIPS by region":  {Config{Bucket: "b-u-c", Region: "fips-us-west-2"}, nil, "https://b-u-c.s3-fips.us-west-2.amazonaws.com"},
		"global":          {Config{Bucket: "b-u-c", Region: "aws-global"}, nil, "https://b-u-c.s3.amazonaws.com"},
		"endpoint by SDK": {Config{Bucket: "b-u-c", Region: "eu-central-1"}, map[string]string{"AWS_ENDPOINT_URL_S3": "https://minio.example.com:9000/base"}, "https://minio.example.com:9000/base/b-u-c"},
		"endpoint":        {Config{Bucket: "b-u-c", Region: "eu-central-1", Endpoint: "https://oss-cn-hangzhou.aliyuncs.com"}, nil, "https://b-u-c.oss-cn-hangzhou.aliyuncs.com"},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range map[string]string{"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": ""} {
				t.Setenv(name, value)
			}
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			asked := false
			c.cfg.Credentials = func(context.Context) (string, string, string, error) {
				asked = true
				return "id", "secret", "token", nil
			}
			s, err := Open(t.Context(), c.cfg)
			require.NoError(t, err)
			require.False(t, asked, "no keys are needed before the first request")
			var last sent
			s.http.client.Transport = &last
			const key = "data/ein Schlüssel+?#%2f"
			call := func() (get, put [4]string) {
				_, err := s.Get(t.Context(), key, 100)
				require.NoError(t, err)
				get = last.to()
				require.NoError(t, s.PutHashed(t.Context(), key, []byte("body"), sha256.Sum256([]byte("body"))))
				require.Equal(t, "token", last.req.Header.Get("X-Amz-Security-Token"))
				return get, last.to()
			}
			require.True(t, s.plainly())
			get, put := call()
			require.Equal(t, "pocket", last.req.Header.Get("User-Agent"))
			s.sdkUntil.Store(time.Now().Add(time.Hour).UnixNano())
			require.False(t, s.plainly())
			sdkGet, sdkPut := call()
			require.NotEqual(t, "pocket", last.req.Header.Get("User-Agent"))
			require.Equal(t, sdkGet, get)
			require.Equal(t, sdkPut, put)
			require.Equal(t, c.want+"/data/ein%20Schl%C3%BCssel%2B%3F%23%252f", get[1])
		})
	}
}

// A directory bucket wants another signature, with keys that the SDK asks for.
func TestDirectoryBucketIsLeftToTheSDK(t *testing.T) {
	s, err := Open(t.Context(), Config{Bucket: "b-u-c--use1-az4--x-s3", Region: "us-east-1"})
	require.NoError(t, err)
	require.False(t, s.plainly())
}

// A bucket of another region answers with an error that says so, and everything is the SDK's for a while.
func TestBucketOfAnotherRegionIsToldFromAPlainRequestToo(t *testing.T) {
	s, err := Open(t.Context(), Config{Bucket: "b-u-c", Region: "eu-central-1", Credentials: func(context.Context) (string, string, string, error) {
		return "id", "secret", "", nil
	}})
	require.NoError(t, err)
	requests := 0
	s.http.client.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
		requests++
		return &http.Response{
			StatusCode: 301, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
			Header: http.Header{"X-Amz-Bucket-Region": {"us-west-2"}, "Location": {"https://elsewhere.example.com/"}},
			Body:   io.NopCloser(bytes.NewReader([]byte("<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"))),
		}, nil
	})
	require.True(t, s.plainly())
	for range 2 { // by the SDK the second time
		_, err = s.Get(t.Context(), "k", 100)
		require.ErrorContains(t, err, "set the region to us-west-2")
	}
	require.Equal(t, 2, requests, "the redirect is not followed")
	require.False(t, s.plainly())
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// The SDK would sign whatever bytes it is given.
func TestOtherBytesThanWereToldAreNotSentByTheSDK(t *testing.T) {
	s, err := Open(t.Context(), Config{Bucket: "bucket", Region: "eu-central-1", Endpoint: "http://127.0.0.1:1",
		Credentials: func(context.Context) (string, string, string, error) { return "id", "secret", "", nil }})
	require.NoError(t, err)
	var last sent
	s.http.client.Transport = &last
	s.sdkUntil.Store(time.Now().Add(time.Hour).UnixNano())
	require.ErrorIs(t, s.PutHashed(t.Context(), "key", []byte("other"), sha256.Sum256([]byte("body"))), objstore.ErrCorrupt)
	require.Nil(t, last.req)
	require.NoError(t, s.PutHashed(t.Context(), "key", []byte("body"), sha256.Sum256([]byte("body"))))
}
