package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/creds"
	"github.com/hamflx/pocket/internal/openstore"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
)

// bucket is a store as the index sees it.
type bucket struct {
	store objstore.Store
	name  string // for people
}

func (b *bucket) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	return b.store.Get(ctx, key, max)
}

func (b *bucket) Put(ctx context.Context, key string, body []byte) error {
	return b.store.Put(ctx, key, body)
}

func (b *bucket) Delete(ctx context.Context, key string) error { return b.store.Delete(ctx, key) }

func (b *bucket) List(ctx context.Context, prefix, after string) iter.Seq2[loroindex.Object, error] {
	return func(yield func(loroindex.Object, error) bool) {
		for info, err := range b.store.List(ctx, prefix, after) {
			if !yield(loroindex.Object(info), err) {
				return
			}
		}
	}
}

func (b *bucket) NotExist(err error) bool { return errors.Is(err, objstore.ErrNotExist) }

// target returns the bucket that the command line names, or the name of a single
// file.
func (c *command) target() (b *bucket, file string, err error) {
	named := 0
	for _, s := range []string{c.mount, c.url, c.path} {
		if s != "" {
			named++
		}
	}
	if named > 1 {
		return nil, "", wrong("name one of --mount, --url and a folder or file, not two")
	}
	if openstore.IsURL(c.path) {
		c.url, c.path = c.path, ""
	}
	if c.url == "" && (c.endpoint != "" || c.region != "" || c.profile != "") {
		return nil, "", wrong("--endpoint, --region and --profile go with --url")
	}
	var store objstore.Store
	var prefix, name string
	switch {
	case c.url != "":
		store, prefix, err = c.fromURL()
		name = c.url
	case c.path != "":
		info, statErr := os.Stat(c.path)
		if statErr != nil {
			return nil, "", statErr
		}
		if !info.IsDir() {
			return nil, c.path, nil
		}
		store, prefix, err = openstore.Folder(c.path)
		name = c.path
	default:
		store, prefix, name, err = c.fromConfig()
	}
	if err != nil {
		return nil, "", err
	}
	if _, err := objstore.NormalizePrefix(prefix); err != nil {
		return nil, "", err
	}
	store = objstore.WithPrefix(objstore.WithRetry(store, objstore.RetryPolicy{}), prefix)
	return &bucket{store: store, name: name}, "", nil
}

func (c *command) fromURL() (store objstore.Store, prefix string, err error) {
	name, prefix, err := openstore.ParseURL(c.url)
	if err != nil {
		return nil, "", wrong("--url: %v", err)
	}
	file, err := config.Locate(c.config, c.env)
	if err != nil && (c.config != "" || c.profile != "" && file == "") {
		return nil, "", &usageError{err.Error()}
	}
	profiles := creds.Open(config.CredentialsDir(file, c.env))
	store, err = openstore.Open(c.ctx, config.Storage{Backend: config.BackendS3, S3: config.S3{
		Bucket: name, Region: c.region, Endpoint: c.endpoint, Credentials: c.profile,
	}}, profiles)
	return store, prefix, err
}

func (c *command) fromConfig() (store objstore.Store, prefix, name string, err error) {
	cfg, err := config.Load(c.config, c.env)
	if errors.Is(err, config.ErrNoFile) && c.config == "" && c.mount == "" {
		return nil, "", "", wrong("name a folder, a file, --url or --config: %v", err)
	}
	if err != nil {
		return nil, "", "", &usageError{err.Error()}
	}
	names := make([]string, len(cfg.Mounts))
	var mount *config.Mount
	for i := range cfg.Mounts {
		names[i] = cfg.Mounts[i].Name
		if names[i] == c.mount || c.mount == "" && len(cfg.Mounts) == 1 {
			mount = &cfg.Mounts[i]
		}
	}
	switch {
	case mount == nil && c.mount == "":
		return nil, "", "", wrong("%s has several mounts: say which with --mount: %s", cfg.File, strings.Join(names, ", "))
	case mount == nil:
		return nil, "", "", wrong("%s has no mount %q; it has %s", cfg.File, c.mount, strings.Join(names, ", "))
	case mount.Storage.Backend == config.BackendMemory:
		return nil, "", "", wrong("mount %s is in memory: nothing of it is anywhere else", mount.Name)
	}
	store, err = openstore.Open(c.ctx, mount.Storage, creds.Open(config.CredentialsDir(cfg.File, c.env)))
	if err != nil {
		err = fmt.Errorf("storage %s: %w", mount.Storage.Name, err)
	}
	return store, mount.Prefix, "mount " + mount.Name, err
}

// bucket returns the bucket that the command line names; a single file is none.
func (c *command) bucket(what string) (*bucket, error) {
	b, file, err := c.target()
	if err == nil && file != "" {
		err = wrong("%s needs a whole index: %s is a file", what, file)
	}
	return b, err
}
