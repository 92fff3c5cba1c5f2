package s3store

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
)

// answers is a service that answers every request with the same bytes.
type answers []byte

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/xml"}}, Request: r,
		Body: io.NopCloser(bytes.NewReader(a)), ContentLength: int64(len(a))}, nil
}

func FuzzListing(f *testing.F) {
	for _, inner := range []string{
		"<Contents><Key>a/1</Key><Size>5</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents><Contents><Key>a/2</Key></Contents>",
		"<EncodingType>url</EncodingType><Contents><Key>a/%41+b</Key></Contents>",
		"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a/1</Key><Size>-1</Size></Contents>",
		"<Contents><Key></Key></Contents><Contents><Key>a//</Key></Contents>",
	} {
		f.Add([]byte("<ListBucketResult><Name>bucket</Name>" + inner + "</ListBucketResult>"))
	}
	f.Add([]byte("<html></html>"))
	s, err := Open(f.Context(), Config{Bucket: "bucket", Region: "us-east-1", Endpoint: "http://s3.test",
		Credentials: func(context.Context) (string, string, string, error) { return "id", "secret", "", nil }})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, answer []byte) {
		s.http.client.Transport = answers(answer)
		last := "a/0"
		for info, err := range s.List(t.Context(), "a/", last) {
			if err != nil {
				require.Zero(t, info)
				break
			}
			require.NoError(t, objstore.CheckKey(info.Key))
			require.True(t, strings.HasPrefix(info.Key, "a/"))
			require.Greater(t, info.Key, last)
			require.GreaterOrEqual(t, info.Size, int64(0))
			last = info.Key
		}
	})
}
