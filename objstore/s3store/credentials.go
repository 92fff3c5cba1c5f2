package s3store

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// credentials are the keys of one store and the signer that uses them. They
// tell failures to get keys from failures to use them, and can start afresh.
type credentials struct {
	source aws.CredentialsProvider
	signer atomic.Pointer[v4.Signer]
}

func newCredentials(source aws.CredentialsProvider) *credentials {
	c := &credentials{source: source}
	c.newSigner()
	return c
}

// credentialsError is a failure to get keys.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// Retrieve implements aws.CredentialsProvider.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if c.source == nil {
		return aws.Credentials{}, &credentialsError{errors.New("none are configured")}
	}
	keys, err := c.source.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err}
	}
	return keys, nil
}

// SignHTTP implements s3.HTTPSignerV4.
func (c *credentials) SignHTTP(ctx context.Context, keys aws.Credentials, r *http.Request, payloadHash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) error {
	return c.signer.Load().SignHTTP(ctx, keys, r, payloadHash, service, region, at, opts...)
}

// refused makes the next request ask for keys again: they may have been
// replaced since, and need no restart then. The signer goes with them. It
// keeps what it has derived from the secret access key under the access key
// id, and would go on with the old secret where just that was mistyped.
func (c *credentials) refused() {
	if cache, ok := c.source.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
	c.newSigner()
}

func (c *credentials) newSigner() {
	c.signer.Store(v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true // S3 signs the path as it is sent
	}))
}

// configured adapts Config.Credentials.
func configured(get func(context.Context) (id, secret, session string, err error)) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		id, secret, session, err := get(ctx)
		if err != nil {
			return aws.Credentials{}, err
		}
		if id == "" || secret == "" {
			return aws.Credentials{}, errors.New("the access key id or the secret access key is empty")
		}
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: session, Source: "pocket"}, nil
	})
}
