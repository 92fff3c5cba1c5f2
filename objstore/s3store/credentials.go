package s3store

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// credentials tells failures to get keys from failures to use them.
type credentials struct {
	source aws.CredentialsProvider
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

// refused makes the next request ask for keys again: they may have been
// replaced since, and need no restart then.
func (c *credentials) refused() {
	if cache, ok := c.source.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
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
