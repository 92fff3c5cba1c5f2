// Package s3store is an object store in an S3 bucket: of AWS, or of any of the
// many services and servers that speak its protocol.
//
// It uses what all of them have: PutObject, GetObject, HeadObject,
// DeleteObject and ListObjectsV2, without conditional writes, multipart
// uploads or the checksum trailers that the SDK would add by itself and that
// many services refuse. Bodies are protected by the signature, which covers
// their SHA-256.
//
// A call is one attempt: the SDK's own retries are off, since
// objstore.WithRetry also repeats what the SDK cannot, such as a body cut
// short or a listing half read. A request may take as long as it needs while
// it moves; one that stands still is given up, see Config.Timeout.
//
// An answer is only believed when it comes from S3: a login page that answers
// 200 or 404 to everything is ErrUnavailable, not an object and not a missing
// one.
package s3store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// Config says which bucket, and how to reach it. Only Bucket is required.
type Config struct {
	Bucket string

	// Region of the bucket. When empty, the one that the SDK finds in the
	// environment or the shared configuration, and else us-east-1, which
	// services with an endpoint of their own accept.
	Region string

	// Endpoint is the service's URL, as in "https://minio.example.com:9000".
	// When empty, the one that the SDK finds, and else AWS.
	Endpoint string

	// PathStyle says whether the bucket's name goes into the path or into the
	// host name.
	PathStyle PathStyle

	// Credentials returns the keys to sign with; session may be empty. It is
	// called at the first request and again after the service has refused what
	// it returned. When nil, the SDK's default chain is used: environment,
	// shared files, single sign-on, the machine's role.
	Credentials func(ctx context.Context) (id, secret, session string, err error)

	// Timeout is how long a request may stand still: for each such time at
	// least 64 KiB have to move, or what is left. Zero means 30 s.
	Timeout time.Duration

	// MaxConns is how many requests run at once, others wait, and how many
	// connections are kept open. Zero means 96.
	MaxConns int
}

// Store is an objstore.Store in a bucket. Beside the required methods it has
// those of objstore.ConditionalGetter, HashedGetter, HashedPutter, Stater and Identifier.
type Store struct {
	client  *s3.Client
	keys    *credentials
	http    *transport
	bucket  string
	name    string // what errors call this store
	id      string
	timeout time.Duration
	slots   chan struct{} // one element for each request under way

	mu       sync.Mutex
	underWay map[*request]bool // requests that have a slot; guarded by mu

	unordered atomic.Bool // the service has listed keys that do not ascend, see list.go

	// For requests that are made without the SDK, see plain.go.
	base     *url.URL     // of the bucket, without a slash at its end; nil where only the SDK can make requests
	region   string       // to sign for
	ahead    atomic.Int64 // the service's clock of this machine's, in nanoseconds
	sdkUntil atomic.Int64 // no such requests before, in nanoseconds since 1970
}

// Open returns the store for cfg. It reads the SDK's shared configuration but
// makes no request: a wrong bucket or key shows at the first call.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := checkBucket(cfg.Bucket); err != nil {
		return nil, fmt.Errorf("open s3 bucket %q: %w", cfg.Bucket, err)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 96
	}
	load := []func(*config.LoadOptions) error{
		// Given, so that the loader adds the certificates of AWS_CA_BUNDLE.
		config.WithHTTPClient(awshttp.NewBuildableClient()),
		config.WithLogger(logging.Nop{}),
	}
	if cfg.Region != "" {
		load = append(load, config.WithRegion(cfg.Region))
	}
	if cfg.Credentials != nil {
		load = append(load, config.WithCredentialsProvider(configured(cfg.Credentials)))
	}
	sdk, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("open s3 bucket %q: read the AWS configuration of this machine: %w", cfg.Bucket, err)
	}

	s := &Store{
		bucket:  cfg.Bucket,
		name:    "s3 bucket " + strconv.Quote(cfg.Bucket),
		keys:    newCredentials(sdk.Credentials),
		http:    newTransport(sdk.HTTPClient, cfg),
		timeout: cfg.Timeout,
		slots:   make(chan struct{}, cfg.MaxConns),
	}
	var at *address
	s.client = s3.NewFromConfig(sdk, func(o *s3.Options) {
		if cfg.Endpoint != "" {
			// Not through the loader, which would send the default chain there too.
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
		if at, err = addressOf(aws.ToString(o.BaseEndpoint), cfg.Bucket, cfg.PathStyle); err != nil {
			return
		}
		if at.endpoint != "" {
			o.BaseEndpoint = aws.String(at.endpoint)
		}
		o.UsePathStyle = at.pathStyle
		if o.Region == "" {
			o.Region = "us-east-1"
		}
		o.Credentials = s.keys
		o.HTTPSignerV4 = s.keys
		o.HTTPClient = s.http
		o.Retryer = aws.NopRetryer{}
		o.RetryMaxAttempts = 0
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		o.ClientLogMode = 0
		o.Logger = logging.Nop{}
	})
	if err != nil {
		return nil, fmt.Errorf("open s3 bucket %q: %w", cfg.Bucket, err)
	}
	s.findBase(ctx)
	s.id = "s3 " + at.name() + " " + cfg.Bucket
	return s, nil
}

// Identity returns "s3", the endpoint's URL and the bucket's name, separated by
// spaces.
func (s *Store) Identity() string { return s.id }

// checkBucket refuses names that would end up elsewhere than in the bucket's
// place of a URL. Which others exist is the service's to say.
func checkBucket(name string) error {
	if name == "" {
		return errors.New("no bucket is given")
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return fmt.Errorf("the name contains %q; it may have letters, digits, '-', '.' and '_'", c)
		}
	}
	if name[0] == '.' {
		return errors.New("the name begins with a dot")
	}
	return nil
}
