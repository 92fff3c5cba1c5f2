package openstore

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/creds"
	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/dirstore"
)

func TestURLIsBucketAndPrefix(t *testing.T) {
	for _, c := range []struct{ in, bucket, prefix string }{
		{"s3://b", "b", ""}, {"s3://b/", "b", ""}, {"s3://b/ssh", "b", "ssh"}, {"S3://my.bucket/a/b/", "my.bucket", "a/b/"}, {"s3://b/100%", "b", "100%"},
	} {
		bucket, prefix, err := ParseURL(c.in)
		require.NoError(t, err, c.in)
		require.Equal(t, []string{c.bucket, c.prefix}, []string{bucket, prefix})
	}
	for _, in := range []string{"", "s3:/b", "http://b/c", "s3://", "s3:///x", "s3://b/../c"} {
		_, _, err := ParseURL(in)
		require.ErrorContains(t, err, in)
	}
}

// A folder is looked at as the place in a store that it is.
func TestFolderInsideAStoreIsAPrefix(t *testing.T) {
	ctx := context.Background()
	root := filepath.Join(t.TempDir(), "nas")
	s, err := dirstore.Open(root, true)
	require.NoError(t, err)
	keys := []string{"ssh/index/head", "Böse Fälle/con/index/head"}
	for _, key := range keys {
		require.NoError(t, s.Put(ctx, key, []byte(key)))
	}
	var heads []string
	require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if d.Name() == "head" {
			heads = append(heads, filepath.Dir(filepath.Dir(path)))
		}
		return err
	}))
	require.Len(t, heads, 2)
	for _, dir := range heads {
		inside, prefix, err := Folder(dir)
		require.NoError(t, err)
		body, err := objstore.WithPrefix(inside, prefix).Get(ctx, "index/head", 100)
		require.NoError(t, err)
		require.Contains(t, keys, string(body))
		require.NoError(t, objstore.WithPrefix(inside, prefix).Put(ctx, "index/tip", []byte("x")))
		require.NoFileExists(t, filepath.Join(dir, storeMark))
	}
	whole, prefix, err := Folder(root)
	require.NoError(t, err)
	require.Empty(t, prefix)
	_, err = whole.Get(ctx, keys[0], 100)
	require.NoError(t, err)
}

func TestCopyOfABucketIsAStore(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "Copy", "index"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Copy", "index", "head"), []byte("x"), 0o600))
	s, prefix, err := Folder(filepath.Join(dir, "Copy"))
	require.NoError(t, err)
	require.Empty(t, prefix)
	_, err = s.Get(context.Background(), "index/head", 10)
	require.NoError(t, err)

	// Named by hand inside of a store: no key leads there.
	require.NoError(t, os.WriteFile(filepath.Join(dir, storeMark), nil, 0o600))
	s, prefix, err = Folder(filepath.Join(dir, "Copy"))
	require.NoError(t, err)
	require.Empty(t, prefix)
	_, err = s.Get(context.Background(), "index/head", 10)
	require.NoError(t, err)

	_, _, err = Folder(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, _, err = Folder(filepath.Join(dir, storeMark))
	require.ErrorContains(t, err, "not a folder")
}

func TestConfiguredStoragesOpen(t *testing.T) {
	ctx := context.Background()
	profiles := creds.OpenIn(filepath.Join(t.TempDir(), "credentials"), creds.InFile)
	s, err := Open(ctx, config.Storage{Backend: config.BackendMemory}, profiles)
	require.NoError(t, err)
	require.NoError(t, s.Put(ctx, "a", nil))

	s, err = Open(ctx, config.Storage{Backend: config.BackendDir, Dir: config.Dir{Path: filepath.Join(t.TempDir(), "none")}}, profiles)
	require.NoError(t, err)
	_, err = s.Get(ctx, "a", 1)
	require.ErrorIs(t, err, objstore.ErrNoBucket)

	remote := config.Storage{Backend: config.BackendS3, S3: config.S3{Bucket: "b", Region: "eu-1", Endpoint: "http://127.0.0.1:1", Credentials: "main"}}
	_, err = Open(ctx, remote, profiles)
	require.ErrorIs(t, err, creds.ErrNotExist)
	require.NoError(t, profiles.Set("main", creds.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "s"}))
	s, err = Open(ctx, remote, profiles)
	require.NoError(t, err)
	id, ok := objstore.As[objstore.Identifier](s)
	require.True(t, ok)
	require.Equal(t, "s3 http://127.0.0.1:1 b", id.Identity())

	_, err = Open(ctx, config.Storage{Backend: "tape"}, profiles)
	require.ErrorContains(t, err, "tape")
}

func TestS3KeysComeFromTheProfileThenTheConfiguration(t *testing.T) {
	profiles := creds.OpenIn(t.TempDir(), creds.InFile)
	require.NoError(t, profiles.Set("work", creds.Credentials{AccessKeyID: "AKPROFILE", SecretAccessKey: "one"}))
	both := config.S3{Bucket: "b", Credentials: "work", AccessKeyID: "AKCONFIG", SecretAccessKey: "two"}
	id := func(c config.S3) string {
		keys, err := credentials(t.Context(), c, profiles)
		require.NoError(t, err)
		if keys == nil {
			return ""
		}
		id, _, _, err := keys(t.Context())
		require.NoError(t, err)
		return id
	}
	require.Equal(t, "AKPROFILE", id(both))
	both.Credentials = ""
	require.Equal(t, "AKCONFIG", id(both))
	require.Equal(t, "", id(config.S3{Bucket: "b"}), "the SDK's default chain")
}
