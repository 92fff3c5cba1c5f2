package config

import (
	"fmt"
	"path"
	"strings"
	"unicode"
)

var mountKeys = []string{"name", "mount_path", "storage", "prefix", "mode", "import", "local_names", "windows"}

// maxPrefix leaves room for the rest of a key: services allow 1024 bytes in all.
const maxPrefix = 512

// mounts reads all [[mounts]] tables, in the order of the file.
func (c *checker) mounts(root *table, storages *storageSet) []Mount {
	tables := root.tables("mounts")
	if len(tables) == 0 {
		// Also for "mounts = []"; not for a list that is wrong, which was reported.
		if empty, isList := root.vals["mounts"].([]any); !c.editing && (root.missing("mounts") || isList && len(empty) == 0) {
			c.wrong(0, "mounts", "there is no [[mounts]] table: add one, %s", exampleMount(storages.names[0]))
		}
		return nil
	}
	var mounts []Mount
	for _, t := range tables {
		m, ok := c.mount(t, storages)
		if !ok {
			continue
		}
		c.compare(t, m, mounts)
		mounts = append(mounts, m)
	}
	return mounts
}

// mount reads one [[mounts]] table; ok when it has a path, which is what a comparison with
// others needs.
func (c *checker) mount(t *table, storages *storageSet) (m Mount, ok bool) {
	t.only(mountKeys, map[string]string{"info_timeout": "[mounts.windows]", "threads": "[mounts.windows]", "symlinks": "[mounts.windows]",
		"backend": "[storages.NAME]", "chunk_size": "[storages.NAME]",
		"cache_size": "[storages.NAME]", "bucket": "[storages.NAME.s3]"})
	m.Line = t.line()

	if t.missing("mount_path") {
		c.wrong(t.line(), t.path("mount_path"), "missing: add mount_path = \"...\", the directory to mount on")
	}
	m.Path, ok = c.mountPath(t)

	if t.missing("storage") {
		c.wrong(t.line(), t.path("storage"), "missing: add storage = \"...\" (%s)", thereAre(storages.names))
	}
	usable := false
	if name, given := t.str("storage"); given {
		var known bool
		if m.Storage, known, usable = storages.find(name); !known && !storages.unknown {
			t.wrong("storage", "%q is not defined: %s", name, storages.suggest(name))
		}
	}
	m.ChunkSize, m.CacheSize, m.Mode = m.Storage.ChunkSize, m.Storage.CacheSize, m.Storage.Mode
	m.Uploads = m.Storage.Uploads
	if mode, given := t.mode(); given {
		m.Mode = mode
	}

	m.Windows = c.windows(t)
	m.LocalNames = t.patterns("local_names")
	m.Prefix = c.prefix(t)
	m.Import = t.yes("import")
	if name, given := t.str("name"); given {
		m.Name = name
		if problem, next := nameProblem(name); problem != "" {
			t.wrong("name", "%s %s: %s", quote(name), problem, next)
		}
	} else if m.Path == AnyDrive && !t.has("name") {
		c.wrong(t.line(), t.path("name"), "missing, and a drive that is not known yet gives none: add name = \"...\"")
	} else if !t.has("name") && ok {
		m.Name = c.paths.base(m.Path)
		if problem, _ := nameProblem(m.Name); problem != "" {
			c.wrong(t.line(), t.path("name"), "missing, and %s, taken from mount_path, %s: add name = \"...\"", quote(m.Name), problem)
		}
	}

	if ok && c.paths.holds(m.Path, c.file) {
		t.wrong("mount_path", "%s holds this configuration file, which could not be read while it is mounted: choose another directory", quote(m.Path))
	}
	if ok && usable && m.Storage.Backend == BackendDir {
		folder := m.Storage.Dir.Path
		if c.paths.holds(m.Path, folder) || c.paths.holds(folder, m.Path) {
			t.wrong("mount_path", "%s and %s, the folder of storage %q, lie one in the other: choose another directory", quote(m.Path), quote(folder), m.Storage.Name)
		}
	}
	return m, ok
}

// mountPath reads mount_path.
func (c *checker) mountPath(t *table) (path string, ok bool) {
	if t.vals["mount_path"] == AnyDrive {
		if !c.env.windows() {
			t.wrong("mount_path", "%q is a free drive, which Windows alone has: choose a directory", AnyDrive)
		}
		return AnyDrive, c.env.windows()
	}
	path, ok = c.localPath(t, "mount_path")
	if ok && c.paths.isRoot(path) {
		next := "choose a directory in it"
		if c.env.windows() {
			next += ", or write a free drive's letter alone, as in X:"
		}
		t.wrong("mount_path", "%s is the root of a file system: %s", quote(path), next)
		return "", false
	}
	return path, ok
}

// windows reads a [mounts.windows] table.
func (c *checker) windows(t *table) Windows {
	w := Windows{InfoTimeout: DefaultInfoTimeout}
	t = t.table("windows")
	if t == nil {
		return w
	}
	t.only([]string{"info_timeout", "threads", "symlinks"}, nil)
	if t.vals["info_timeout"] == "unlimited" {
		w.InfoTimeout = -1
	} else {
		w.InfoTimeout = t.duration("info_timeout", DefaultInfoTimeout, MinInfoTimeout, MaxInfoTimeout)
	}
	w.Threads = t.count("threads", 1, MaxThreads)
	if v, ok := t.vals["symlinks"]; ok {
		if w.Links, ok = v.(bool); !ok {
			t.wrong("symlinks", "is %s, must be true or false", kind(v))
		}
	}
	return w
}

// patterns returns a list of names, each with * and ? as in a shell; nil where there is none, which is
// another thing than an empty one.
func (t *table) patterns(key string) []string {
	v, ok := t.vals[key]
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok || len(list) > maxLocalNames {
		t.wrong(key, "is %s, must be a list of at most %d names: write %s = [\"desktop.ini\"], or [] for none", kind(v), maxLocalNames, key)
		return nil
	}
	names := make([]string, 0, len(list))
	for _, e := range list {
		name, _ := e.(string)
		_, err := path.Match(name, "x")
		switch {
		case name == "" || strings.ContainsAny(name, `/\`) || err != nil:
			t.wrong(key, "%v is not the name of a file: write names without a path, as in \"desktop.ini\" or \"._*\"", show(fmt.Sprint(e)))
		case strings.Trim(name, "*?") == "":
			t.wrong(key, "%q would keep everything on this machine: name what is to stay, as in \"desktop.ini\"", name)
		default:
			names = append(names, name)
			continue
		}
		return nil
	}
	return names
}

// suggest says what a mount could name instead of an unknown storage.
func (set *storageSet) suggest(name string) string {
	if near := nearest(name, set.names); near != "" {
		return alternatives(name, set.names)
	}
	return thereAre(set.names) + ", or add [" + dotted("storages", name) + "]"
}

// nameProblem says why a name cannot be a mount's, which appears in commands and messages,
// and what to do; "" when it can.
func nameProblem(name string) (problem, next string) {
	switch {
	case strings.ContainsFunc(name, unicode.IsControl):
		return "holds a control character", "remove it"
	case strings.ContainsAny(name, `/\`) || name == "." || name == "..":
		return "looks like a path", "write a short name, as in \"ssh\""
	case strings.TrimSpace(name) != name || strings.HasPrefix(name, "-"):
		return "begins or ends badly for a command line", "use letters and digits there"
	case len(name) > 100:
		return "is longer than 100 bytes", "shorten it"
	}
	return "", ""
}

// prefix returns the mount's key prefix as it was given.
func (c *checker) prefix(t *table) string {
	v, ok := t.vals["prefix"]
	if s, isString := v.(string); !ok || isString && s == "" {
		return ""
	}
	prefix, ok := t.str("prefix")
	if !ok {
		return ""
	}
	switch {
	case strings.HasPrefix(prefix, "/"):
		t.wrong("prefix", "%q begins with a slash, keys in a bucket do not: write %q", prefix, strings.TrimLeft(prefix, "/"))
	case strings.ContainsFunc(prefix, unicode.IsControl):
		t.wrong("prefix", "%q holds a control character: remove it", prefix)
	case len(prefix) > maxPrefix:
		t.wrong("prefix", "is %d bytes long: shorten it to at most %d", len(prefix), maxPrefix)
	default:
		for _, segment := range strings.Split(strings.TrimSuffix(prefix, "/"), "/") {
			if segment == "" || segment == "." || segment == ".." {
				t.wrong("prefix", "%q has the part %q between slashes: write plain names, as in \"home/ssh/\"", prefix, segment)
				break
			}
		}
	}
	return prefix
}

// compare reports what m, the mount in t, has in common with an earlier one and must not;
// the first such thing, since the others tend to follow from it.
func (c *checker) compare(t *table, m Mount, earlier []Mount) {
	for _, e := range earlier {
		inner, outer := c.paths.holds(e.Path, m.Path), c.paths.holds(m.Path, e.Path)
		if m.Path == AnyDrive {
			inner, outer = false, false
		}
		switch {
		case inner && outer:
			t.wrong("mount_path", "%s is mounted in line %d already: choose another directory for one of them", quote(m.Path), e.Line)
		case inner:
			t.wrong("mount_path", "%s lies in %s, the mount of line %d: choose a directory outside of it", quote(m.Path), quote(e.Path), e.Line)
		case outer:
			t.wrong("mount_path", "%s holds %s, the mount of line %d: choose a directory that does not", quote(m.Path), quote(e.Path), e.Line)
		case m.Name != "" && strings.EqualFold(m.Name, e.Name):
			if t.has("name") {
				t.wrong("name", "%q is the name of the mount of line %d already: choose another name", m.Name, e.Line)
			} else {
				c.wrong(t.line(), t.path("name"), "missing, and %q, taken from mount_path, is the name of the mount of line %d already: add name = \"...\"", m.Name, e.Line)
			}
		default:
			continue
		}
		return
	}
}
