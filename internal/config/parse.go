package config

import (
	"bytes"
	"errors"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"github.com/hamflx/pocket/internal/creds"
)

// parse checks and resolves the text of a configuration. file is its absolute path, perm
// the permission bits it has.
func parse(file string, text []byte, perm fs.FileMode, env Env) (*Config, error) {
	return (&checker{file: file, env: env, paths: env.paths()}).check(text, perm)
}

// parseStorages is parse for a configuration that is being changed: it need not have mounts, and of unknown
// keys it warns.
func parseStorages(file string, text []byte, perm fs.FileMode, env Env) (*Config, error) {
	return (&checker{file: file, env: env, paths: env.paths(), editing: true}).check(text, perm)
}

// check is parse with the checker's own rules.
func (c *checker) check(text []byte, perm fs.FileMode) (*Config, error) {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		c.wrong(1, "", "the file is UTF-16: save it as UTF-8")
		return nil, c.err()
	}
	var vals map[string]any
	if _, err := toml.Decode(string(text), &vals); err != nil {
		c.syntax(err)
		return nil, c.err()
	}
	at, err := findPlaces(string(text))
	if err != nil {
		at = nil // mistakes are then named by file and key alone
	}
	root := &table{c: c, vals: vals, at: at}
	root.only([]string{"storages", "mounts"}, nil)

	storages := c.storages(root)
	if len(c.mistakes) == 0 && !c.env.windows() && perm&0o004 != 0 {
		c.worldReadable(root)
	}
	mounts := c.mounts(root, storages)
	if err := c.err(); err != nil {
		return nil, err
	}
	byLine(c.warnings)
	cfg := &Config{File: c.file, Storages: storages.byName, Mounts: mounts}
	for _, w := range c.warnings {
		cfg.Warnings = append(cfg.Warnings, w.Error())
	}
	return cfg, nil
}

// syntax reports a text that is not TOML.
func (c *checker) syntax(err error) {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		c.wrong(0, "", "not valid TOML: %v: correct the file", show(err.Error()))
		return
	}
	next := "correct this line"
	if strings.HasSuffix(pe.LastKey, "secret_access_key") {
		// The library's message quotes what it found.
		c.wrong(pe.Position.Line, pe.LastKey, "not valid TOML: write the value between quotes on one line")
		return
	}
	if strings.Contains(pe.Message, "escape") || strings.Contains(pe.Message, "hexadecimal") {
		next = `a backslash between double quotes begins an escape, so write paths in single quotes ('C:\folder') or with slashes`
	}
	c.wrong(pe.Position.Line, pe.LastKey, "not valid TOML: %s: %s", show(strings.TrimSuffix(pe.Message, ".")), next)
}

// storageSet is what mounts may refer to.
type storageSet struct {
	byName map[string]Storage
	names  []string        // all of them, the broken ones too, with the built-in one last
	broken map[string]bool // defined, but with mistakes that are reported already

	// unknown is set when storages could not be told, which is reported already; what
	// mounts name may then be right.
	unknown bool
}

// builtinMemory is the name of the storage that needs no definition. It alone is compared
// without regard to letter case, as the Rust program did.
const builtinMemory = "memory"

// unusedPrefix is what to do with the prefix of a storage: who moves one that had no effect makes Pocket look for
// the files where they are not.
const unusedPrefix = "the first Pocket ignored it, so remove the line if that has written files into the bucket; " +
	"else move it to [[mounts]]"

var storageKeys = []string{"backend", "s3", "dir", "mode", "chunk_size", "cache_size", "read_wait", "uploads"}

// storages reads all [storages.NAME] tables.
func (c *checker) storages(root *table) *storageSet {
	set := &storageSet{byName: make(map[string]Storage), broken: make(map[string]bool)}
	all := root.table("storages")
	set.unknown = all == nil && !root.missing("storages")
	builtin := false
	if all != nil {
		for _, name := range sortedKeys(all.vals) {
			before := len(c.mistakes)
			if slices.Contains(storageKeys, name) {
				if _, isTable := all.vals[name].(map[string]any); !isTable {
					all.wrong(name, "belongs to a storage, which has a name: write [storages.default] above it, or another name")
					set.unknown = true
					continue
				}
				if set.unknown {
					continue // [storages.s3] of that storage without a name
				}
			}
			s, ok := c.storage(all, name)
			if strings.EqualFold(name, builtinMemory) {
				builtin = true
				if ok && s.Backend != BackendMemory {
					all.wrong(name, "this name is built in and always means backend \"memory\": choose another name")
				}
			}
			if len(c.mistakes) > before {
				set.broken[name] = true
			} else {
				set.byName[name] = s
			}
			set.names = append(set.names, name)
		}
	}
	if !builtin {
		set.names = append(set.names, builtinMemory)
	}
	return set
}

// find returns the storage a mount names. known is false when there is none of this name,
// ok when it can be used.
func (set *storageSet) find(name string) (s Storage, known, ok bool) {
	if s, ok = set.byName[name]; ok || set.broken[name] {
		return s, true, ok
	}
	if !strings.EqualFold(name, builtinMemory) {
		return s, false, false
	}
	for _, n := range set.names {
		if n != builtinMemory && strings.EqualFold(n, builtinMemory) {
			s, ok = set.byName[n]
			return s, true, ok
		}
	}
	s = Storage{Name: builtinMemory, Backend: BackendMemory, Mode: DefaultMode,
		ChunkSize: DefaultChunkSize, ReadWait: DefaultReadWait}
	set.byName[builtinMemory] = s
	return s, true, true
}

// storage reads one [storages.NAME] table; ok when it is a table at all.
func (c *checker) storage(all *table, name string) (s Storage, ok bool) {
	t := all.table(name)
	if t == nil {
		return s, false
	}
	t.only(storageKeys, map[string]string{
		"bucket": "[" + t.name + ".s3]", "region": "[" + t.name + ".s3]", "endpoint": "[" + t.name + ".s3]",
		"credentials": "[" + t.name + ".s3]", "access_key_id": "[" + t.name + ".s3]", "secret_access_key": "[" + t.name + ".s3]",
		"path": "[" + t.name + ".dir]", "prefix": unusedPrefix, "mount_path": "[[mounts]]",
	})
	s = Storage{Name: name, Mode: DefaultMode}
	s.ChunkSize = t.size("chunk_size", DefaultChunkSize, MinChunkSize, MaxChunkSize)
	s.ReadWait = t.duration("read_wait", DefaultReadWait, MinReadWait, MaxReadWait)
	s.CacheSize = t.size("cache_size", 0, MinCacheSize, MaxCacheSize)
	s.Uploads = t.count("uploads", 1, MaxUploads)

	if least := minChunks * s.ChunkSize; s.CacheSize != 0 && s.CacheSize < least {
		t.wrong("cache_size", "%s holds fewer than %d chunks of %s: write at least %s",
			formatSize(s.CacheSize), minChunks, formatSize(s.ChunkSize), formatSize(least))
	}

	s3, dir := t.table("s3"), t.table("dir")
	backend, _ := t.choice("backend", string(BackendS3), string(BackendMemory), string(BackendDir))
	s.Backend = Backend(backend)
	if t.missing("backend") {
		// The Rust program took memory then, and everything written was gone at the end.
		guess := BackendMemory
		switch {
		case s3 != nil || t.has("bucket"):
			guess = BackendS3
		case dir != nil || t.has("path"):
			guess = BackendDir
		}
		c.wrong(t.line(), t.path("backend"), "missing: add backend = %q (it can be \"s3\", \"dir\" or \"memory\")", string(guess))
	}

	details := s3
	if s.Backend == BackendDir {
		details = dir
	}
	if s3 != nil {
		s.S3 = c.s3(s3, s.Backend == BackendS3)
	} else if s.Backend == BackendS3 && t.missing("s3") {
		c.wrong(t.line(), dotted(t.path("s3"), "bucket"), "missing: add [%s] with bucket = \"...\"", t.path("s3"))
	}
	if dir != nil {
		s.Dir = c.dir(dir, s.Backend == BackendDir)
	} else if s.Backend == BackendDir && t.missing("dir") {
		c.wrong(t.line(), dotted(t.path("dir"), "path"), "missing: add [%s] with path = \"...\"", t.path("dir"))
	}
	for _, other := range []string{"s3", "dir"} {
		if t.has(other) && s.Backend != "" && string(s.Backend) != other {
			t.warn(other, "is not used, the backend is %q: remove the table or set backend = %q", string(s.Backend), other)
		}
	}

	// The mode is the storage's, whichever of its tables names it.
	inner := details != nil && details.has("mode")
	if mode, ok := t.mode(); ok {
		s.Mode = mode
		if inner {
			details.wrong("mode", "given a second time, %s has it in line %d: remove one of the two", t.name, t.keyLine("mode"))
		}
	}
	if inner {
		if mode, ok := details.mode(); ok {
			s.Mode = mode
		}
	}
	return s, true
}

// mode returns the mode a table names.
func (t *table) mode() (Mode, bool) {
	m, ok := t.choice("mode", string(ModeBuffered), string(ModeSync))
	return Mode(m), ok
}

var s3Keys = []string{"bucket", "region", "endpoint", "credentials", "access_key_id", "secret_access_key", "mode"}

// s3 reads a [storages.NAME.s3] table.
func (c *checker) s3(t *table, used bool) S3 {
	parent := strings.TrimSuffix(t.name, ".s3")
	t.only(s3Keys, map[string]string{"backend": "[" + parent + "]", "chunk_size": "[" + parent + "]",
		"cache_size": "[" + parent + "]", "prefix": unusedPrefix})
	var s S3
	var ok bool
	if s.Bucket, ok = t.str("bucket"); ok && !plain(s.Bucket, "/\\?#") {
		t.wrong("bucket", "%q is not the name of a bucket: write the name alone, a path goes into the mount's prefix and a URL into endpoint", s.Bucket)
	}
	if used && t.missing("bucket") {
		c.wrong(t.line(), t.path("bucket"), "missing: add bucket = \"...\"")
	}
	if s.Region, ok = t.str("region"); ok && !plain(s.Region, "/:") {
		t.wrong("region", "%q is not a region: write something like \"eu-central-1\", or remove the line", s.Region)
	}
	if s.Endpoint, ok = t.str("endpoint"); ok {
		c.endpoint(t, s.Endpoint)
	}
	if s.Credentials, ok = t.str("credentials"); ok {
		if err := creds.CheckName(s.Credentials); err != nil {
			t.wrong("credentials", "%v", err)
		}
	}
	s.AccessKeyID, _ = t.str("access_key_id")
	secret, _ := t.str("secret_access_key")
	s.SecretAccessKey = Secret(secret)
	id, key := t.missing("access_key_id"), t.missing("secret_access_key")
	switch {
	case key && t.has("access_key_id"):
		t.wrong("access_key_id", "secret_access_key is missing beside it: add it, or keep both in a profile with pocket-creds set NAME")
	case id && t.has("secret_access_key"):
		t.wrong("secret_access_key", "access_key_id is missing beside it: add it, or keep both in a profile with pocket-creds set NAME")
	case t.has("credentials") && t.has("secret_access_key"):
		t.warn("secret_access_key", "is not used, the profile that credentials names goes first: remove the keys")
	}
	return s
}

// endpoint checks the URL of a service.
func (c *checker) endpoint(t *table, endpoint string) {
	u, err := url.Parse(endpoint)
	switch {
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		if u.User != nil {
			t.wrong("endpoint", "holds a user name: keys go into access_key_id and secret_access_key, or into a profile")
		} else if u.RawQuery != "" || u.Fragment != "" {
			t.wrong("endpoint", "%q has a query: write the address alone, as in \"https://%s\"", endpoint, u.Host)
		}
	case !strings.Contains(endpoint, "://"):
		t.wrong("endpoint", "%q has no scheme: write %q", endpoint, "https://"+endpoint)
	default:
		t.wrong("endpoint", "not an http or https address: write it as in \"https://s3.example.com\"")
	}
}

// dir reads a [storages.NAME.dir] table.
func (c *checker) dir(t *table, used bool) Dir {
	parent := strings.TrimSuffix(t.name, ".dir")
	t.only([]string{"path", "mode"}, map[string]string{"backend": "[" + parent + "]",
		"chunk_size": "[" + parent + "]", "cache_size": "[" + parent + "]", "prefix": "[[mounts]]"})
	if used && t.missing("path") {
		c.wrong(t.line(), t.path("path"), "missing: add path = \"...\", the folder that serves as the bucket")
	}
	p, _ := c.localPath(t, "path")
	return Dir{Path: p}
}

// localPath returns a path of this machine, expanded, absolute and clean.
func (c *checker) localPath(t *table, key string) (string, bool) {
	given, ok := t.str(key)
	if !ok {
		return "", false
	}
	if strings.ContainsFunc(given, unicode.IsControl) {
		t.wrong(key, "%s holds a control character: remove it", quote(given))
		return "", false
	}
	expanded, left, next := c.env.expand(given)
	p, err := c.paths.abs(expanded, c.env.Dir)
	if err != nil {
		t.wrong(key, "%s cannot be used: %v", quote(given), err)
		return "", false
	}
	if left == "~" {
		t.wrong(key, "%s needs the home directory, which is unknown: %s", quote(given), next)
		return "", false
	} else if left != "" {
		t.warn(key, "%s did not expand, so the path is %s: %s", quote(left), quote(p), next)
	} else if !c.paths.isAbs(expanded) && p != expanded {
		t.warn(key, "%s is relative, so from here it is %s: begin it with ~ or write it out", quote(given), quote(p))
	}
	return p, true
}

// worldReadable warns of secrets that every user of the machine can read.
func (c *checker) worldReadable(root *table) {
	all := root.table("storages")
	if all == nil {
		return
	}
	for _, name := range sortedKeys(all.vals) {
		if s3 := all.table(name).table("s3"); s3 != nil && s3.has("secret_access_key") {
			s3.warn("secret_access_key", "every user of this machine can read this file: run chmod 600 on it, or keep the keys in a profile with pocket-creds set NAME")
		}
	}
}

// plain reports whether s has neither white space, nor control characters, nor any of not.
func plain(s, not string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(not, r)
	})
}
