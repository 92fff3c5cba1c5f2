package s3store

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// PathStyle says where a bucket's name goes in the URL of a request.
type PathStyle int

// The ways to address a bucket.
const (
	// PathAuto chooses: the host name for AWS and the services known to want
	// that, the path for all other endpoints, since a server of one's own
	// seldom has a DNS name per bucket.
	PathAuto   PathStyle = iota
	PathAlways           // https://endpoint/bucket/key
	PathNever            // https://bucket.endpoint/key
)

// virtualHosted are domains of services that want the bucket in the host name:
// some refuse anything else, none needs the path.
//
//   - Alibaba OSS: https://help.aliyun.com/zh/oss/developer-reference/compatibility-with-amazon-s3
//   - Tencent COS: https://cloud.tencent.com/document/product/436/37421
//   - Volcengine TOS: https://www.volcengine.com/docs/6349/147050
var virtualHosted = []string{
	"amazonaws.com", "amazonaws.com.cn", // AWS
	"aliyuncs.com",      // Alibaba OSS
	"myqcloud.com",      // Tencent COS
	"tencentcos.cn",     // Tencent COS
	"volces.com",        // Volcengine TOS
	"ivolces.com",       // Volcengine TOS
	"myhuaweicloud.com", // Huawei OBS
	"bcebos.com",        // Baidu BOS
	"ksyuncs.com",       // Kingsoft KS3
	"digitaloceanspaces.com",
}

// address is where a bucket is.
type address struct {
	endpoint  string // URL without a slash at its end; empty: AWS, by region
	pathStyle bool
}

// name returns the endpoint for the store's identity. Buckets of AWS have
// names of their own in all regions.
func (a *address) name() string {
	if a.endpoint == "" {
		return "https://s3.amazonaws.com"
	}
	return a.endpoint
}

// dnsBucket matches bucket names that can be one label of a host name.
var dnsBucket = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)

func addressOf(endpoint, bucket string, style PathStyle) (*address, error) {
	a := &address{pathStyle: style == PathAlways}
	if endpoint == "" {
		return a, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" {
		// Not err, which repeats the text: there may be a password in it.
		return nil, errors.New("the endpoint is no URL such as https://s3.example.com")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the endpoint may have a host, a port and a path only: %s://%s", u.Scheme, u.Host)
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	u.Host = host
	if strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	}
	if port != "" && !(u.Scheme == "https" && port == "443") && !(u.Scheme == "http" && port == "80") {
		u.Host = net.JoinHostPort(host, port)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	a.endpoint = u.String()
	if style == PathAuto {
		a.pathStyle = !wantsHost(host) || !dnsBucket.MatchString(bucket)
	}
	return a, nil
}

func wantsHost(host string) bool {
	for _, domain := range virtualHosted {
		if host == domain || strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return false
}
