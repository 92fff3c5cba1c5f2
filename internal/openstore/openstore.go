// Package openstore opens the object stores that a configuration or a command
// line names: buckets, folders and memory.
//
// What it returns makes every call once. Callers put retries and prefixes
// around it, see package objstore.
package openstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/creds"
	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/dirstore"
	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/hamflx/pocket/objstore/s3store"
)

// Open returns the store of a configured storage; a storage in memory is a new,
// empty one each time. Credential profiles are read from profiles. No object is
// read: whether the bucket or folder is there shows at the first use.
//
// A profile that is missing or damaged is an error here: that is no reason to
// wait for the network.
func Open(ctx context.Context, storage config.Storage, profiles creds.Store) (objstore.Store, error) {
	switch storage.Backend {
	case config.BackendMemory:
		return memstore.New(), nil
	case config.BackendDir:
		// Never made here: a folder that is missing is a drive that is not attached.
		return dirstore.Open(storage.Dir.Path, false)
	case config.BackendS3:
		c := storage.S3
		keys, err := credentials(ctx, c, profiles)
		if err != nil {
			return nil, err
		}
		return s3store.Open(ctx, s3store.Config{Bucket: c.Bucket, Region: c.Region, Endpoint: c.Endpoint, Credentials: keys})
	}
	return nil, fmt.Errorf("backend %q is not known", storage.Backend)
}

// credentials returns where an S3 client gets its keys from: the profile, else
// the configuration, else nil for the SDK's default chain.
func credentials(ctx context.Context, c config.S3, profiles creds.Store) (func(context.Context) (id, secret, session string, err error), error) {
	var provider creds.Provider
	switch {
	case c.Credentials != "":
		provider = creds.FromStore(profiles, c.Credentials)
		if _, err := provider(ctx); err != nil {
			return nil, err
		}
	case c.AccessKeyID != "":
		provider = creds.Static(creds.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: string(c.SecretAccessKey)})
	default:
		return nil, nil
	}
	return func(ctx context.Context) (id, secret, session string, err error) {
		keys, err := provider(ctx)
		return keys.AccessKeyID, keys.SecretAccessKey, "", err
	}, nil
}

// urlScheme begins the URL of a place in a bucket.
const urlScheme = "s3://"

// IsURL reports whether a text is meant as the URL of a place in a bucket.
func IsURL(s string) bool {
	return len(s) >= len(urlScheme) && strings.EqualFold(s[:len(urlScheme)], urlScheme)
}

// ParseURL divides s3://bucket/prefix. The prefix, which may be empty, is taken
// as it is: nothing in it is an escape.
func ParseURL(s string) (bucket, prefix string, err error) {
	if !IsURL(s) {
		return "", "", fmt.Errorf("%q is not a URL of the form s3://bucket/prefix", s)
	}
	bucket, prefix, _ = strings.Cut(s[len(urlScheme):], "/")
	if bucket == "" {
		return "", "", fmt.Errorf("%q names no bucket: write s3://bucket/prefix", s)
	}
	if _, err := objstore.NormalizePrefix(prefix); err != nil {
		return "", "", fmt.Errorf("%q: %w", s, err)
	}
	return bucket, prefix, nil
}

// storeMark is the file by which package dirstore knows its folders.
const storeMark = ".pocket-store"

// Folder returns the store that a folder is, or is a part of: then keys begin
// with prefix. A folder that package dirstore did not make, such as a copy of a
// bucket, is a store of its own. It has to exist.
func Folder(path string) (store objstore.Store, prefix string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, "", err
	}
	if info, err := os.Stat(path); err != nil {
		return nil, "", err
	} else if !info.IsDir() {
		return nil, "", fmt.Errorf("%s is not a folder", path)
	}
	root := path
	for dir := path; ; {
		if _, err := os.Lstat(filepath.Join(dir, storeMark)); err == nil {
			if rel, ok := keyOf(dir, path); ok {
				root, prefix = dir, rel
			}
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	store, err = dirstore.Open(root, false)
	return store, prefix, err
}

// keyOf returns the beginning of the keys of what lies in a folder of a store.
// It reports false when the store would not have made such a folder.
func keyOf(root, path string) (prefix string, ok bool) {
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return "", false
	}
	if rel == "." {
		return "", true
	}
	var key []byte
	for rest := filepath.ToSlash(rel); rest != ""; {
		c := rest[0]
		n := 1
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '/':
		case c == '%' && len(rest) >= 3:
			b, err := strconv.ParseUint(rest[1:3], 16, 8)
			if err != nil {
				return "", false
			}
			c, n = byte(b), 3
		default:
			return "", false
		}
		key = append(key, c)
		rest = rest[n:]
	}
	return string(key), objstore.CheckKey(string(key)) == nil
}
