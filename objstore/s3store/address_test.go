package s3store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBucketGoesWhereTheServiceWantsIt(t *testing.T) {
	for _, c := range []struct {
		endpoint, bucket string
		style            PathStyle
		want             address
	}{
		{"", "bucket", PathAuto, address{"", false}},
		{"", "bucket", PathAlways, address{"", true}},
		{"http://127.0.0.1:9000/", "bucket", PathAuto, address{"http://127.0.0.1:9000", true}},
		{"https://minio.example.com", "bucket", PathAuto, address{"https://minio.example.com", true}},
		{"https://minio.example.com", "bucket", PathNever, address{"https://minio.example.com", false}},
		{"https://OSS-cn-hangzhou.aliyuncs.com", "bucket", PathAuto, address{"https://oss-cn-hangzhou.aliyuncs.com", false}},
		{"https://oss-cn-hangzhou.aliyuncs.com", "with.dots", PathAuto, address{"https://oss-cn-hangzhou.aliyuncs.com", true}},
		{"https://s3.eu-central-1.amazonaws.com:443", "bucket", PathAuto, address{"https://s3.eu-central-1.amazonaws.com", false}},
		{"https://notaliyuncs.com", "bucket", PathAuto, address{"https://notaliyuncs.com", true}},
		{"http://[::1]:80/base//", "bucket", PathAuto, address{"http://[::1]/base", true}},
		{"http://[::1]:81", "bucket", PathAuto, address{"http://[::1]:81", true}},
	} {
		got, err := addressOf(c.endpoint, c.bucket, c.style)
		require.NoError(t, err, c.endpoint)
		require.Equal(t, c.want, *got, c.endpoint)
	}
	for _, bad := range []string{"minio:9000", "s3.example.com", "ftp://x", "https://", "https://user:secretword@host", "https://host?x=secretword", "https://host#x", "https://user:secretword@host:x"} {
		_, err := addressOf(bad, "bucket", PathAuto)
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "secretword")
	}
}

func TestBucketNamesThatWouldLeaveTheirPlaceAreRefused(t *testing.T) {
	for _, good := range []string{"pocket", "Legacy_Bucket", "a.b-c"} {
		require.NoError(t, checkBucket(good))
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a b", "a?b", "a#b", "a%2fb", "a:b", "a@b", "\u00e9"} {
		require.Error(t, checkBucket(bad), "%q", bad)
	}
}
