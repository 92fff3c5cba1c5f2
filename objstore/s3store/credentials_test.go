package s3store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/s3store"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

func TestWrongCredentialsSayWhatToCheck(t *testing.T) {
	srv := s3test.New(t)
	for _, c := range []struct{ id, secret, want string }{
		{srv.AccessKeyID, "wrong secret", "check the secret access key"},
		{"WRONGID", srv.SecretAccessKey, "check the access key id"},
		{"", "", "empty"},
	} {
		cfg := configOf(srv)
		cfg.Credentials = func(context.Context) (string, string, string, error) { return c.id, c.secret, "", nil }
		for name, call := range calls(t.Context(), open(t, cfg)) {
			err := call()
			require.ErrorIs(t, err, objstore.ErrPermission, name)
			require.False(t, objstore.Retryable(err))
			if name != "stat" || c.id == "" { // HEAD: the status alone
				require.ErrorContains(t, err, c.want, name)
			}
			if c.secret != "" {
				require.NotContains(t, err.Error(), c.secret)
			}
		}
	}
}

func TestCredentialsAreReadAgainOnceRefused(t *testing.T) {
	srv := s3test.New(t)
	cfg := configOf(srv)
	secret := "outdated"
	reads := 0
	cfg.Credentials = func(context.Context) (string, string, string, error) {
		reads++
		return srv.AccessKeyID, secret, "", nil
	}
	s := open(t, cfg)
	require.ErrorIs(t, s.Put(t.Context(), "k", nil), objstore.ErrPermission)
	secret = srv.SecretAccessKey
	require.NoError(t, s.Put(t.Context(), "k", nil))
	require.NoError(t, s.Put(t.Context(), "k", nil))
	require.Equal(t, 2, reads)
}

func TestCredentialsThatCannotBeReadAreErrPermission(t *testing.T) {
	srv := s3test.New(t)
	cfg := configOf(srv)
	failure := errors.New(`profile "work" is missing`)
	cfg.Credentials = func(context.Context) (string, string, string, error) { return "", "", "", failure }
	s := open(t, cfg)
	_, err := s.Get(t.Context(), "k", noLimit)
	require.ErrorIs(t, err, objstore.ErrPermission)
	require.ErrorContains(t, err, failure.Error())

	failure = fmt.Errorf("key ring: %w", objstore.ErrUnavailable)
	_, err = s.Get(t.Context(), "k", noLimit)
	require.ErrorIs(t, err, objstore.ErrUnavailable)
}

func TestConfiguredCredentialsStayOutOfTheEnvironment(t *testing.T) {
	srv := s3test.New(t)
	before := os.Environ()
	require.NoError(t, open(t, configOf(srv)).Put(t.Context(), "k", []byte("v")))
	require.Equal(t, before, os.Environ())
}

// isolate hides the machine's own AWS configuration.
func isolate(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		if value, ok := os.LookupEnv(name); ok {
			require.NoError(t, os.Unsetenv(name))
			t.Cleanup(func() { os.Setenv(name, value) })
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestDefaultChainReadsTheEnvironment(t *testing.T) {
	isolate(t)
	srv := s3test.New(t)
	cfg := s3store.Config{Bucket: srv.Bucket, Endpoint: srv.Endpoint}
	_, err := open(t, cfg).Get(t.Context(), "k", noLimit)
	require.ErrorIs(t, err, objstore.ErrPermission)
	require.ErrorContains(t, err, "no credentials found")
	require.Zero(t, srv.Count(s3test.GetObject))

	t.Setenv("AWS_ACCESS_KEY_ID", srv.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", srv.SecretAccessKey)
	require.NoError(t, open(t, cfg).Put(t.Context(), "k", nil))

	t.Setenv("AWS_ENDPOINT_URL", srv.Endpoint)
	s := open(t, s3store.Config{Bucket: srv.Bucket})
	require.NoError(t, s.Put(t.Context(), "k", nil))
	require.Equal(t, "s3 "+srv.Endpoint+" "+srv.Bucket, s.Identity())
}
