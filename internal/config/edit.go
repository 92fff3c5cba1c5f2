package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/oserror"
)

// S3Change is what a person tells of a storage in a bucket, and of a directory to be
// mounted from it.
type S3Change struct {
	Storage     string // name of the storage, made when it is not there
	Bucket      string
	Credentials string  // name of a profile
	Region      *string // nil: as it is; "": none
	Endpoint    *string // nil: as it is; "": none
	Mode        Mode    // "": as it is

	Mount *NewMount // nil: none
}

// NewMount is a [[mounts]] table that is added, or changed when there is one of its name.
type NewMount struct {
	Name   string
	Path   string
	Prefix *string // nil: as it is
}

// Change brings a storage in a bucket into a configuration file and returns what that says now, which
// may be without mounts. file is as [Locate] gives it and need not exist yet.
//
// Everything else in the file stays as it is, byte for byte: comments, order, and keys that
// nobody knows, which are warned of. The file is replaced whole, by a rename that survives a power loss;
// one behind a symbolic link is replaced where it is. A new one is for its owner only.
//
// Nothing is written when the file has other mistakes, when it would have some afterwards, or when it
// is written in a way that Change cannot follow; the error then says what to write by hand.
func Change(file string, c S3Change, env Env) (*Config, error) {
	draft, err := c.draft(file, env)
	if err != nil {
		return nil, err
	}
	return draft.Config, draft.write()
}

// CheckChange is Change without writing.
func CheckChange(file string, c S3Change, env Env) error {
	_, err := c.draft(file, env)
	return err
}

// changed is a file as it will be.
type changed struct {
	*Config
	target string // where the file really is
	text   string
	perm   fs.FileMode
}

func (c *changed) write() error {
	if err := os.MkdirAll(filepath.Dir(c.target), 0o700); err != nil {
		return fmt.Errorf("make the directory of the configuration: %w", err)
	}
	return atomicfile.Write(c.target, []byte(c.text), c.perm)
}

func (c S3Change) draft(file string, env Env) (*changed, error) {
	var text []byte
	perm := fs.FileMode(0o600)
	target, err := filepath.EvalSymlinks(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if to, err := os.Readlink(file); err == nil {
			return nil, fmt.Errorf("%s: is a symbolic link to %s, which is not there: make that file, or remove the link", show(file), show(to))
		}
		target = file
	case err != nil:
		return nil, fmt.Errorf("%s: cannot be read: %w", show(file), oserror.Reason(err))
	default:
		if text, perm, err = readFile(target); err != nil {
			return nil, err
		}
		// It could be replaced, on Unix, but somebody does not want that.
		if perm&0o200 == 0 {
			return nil, fmt.Errorf("%s: is read-only: make it writable, or change it by hand", show(target))
		}
		// With a mistake in it nobody can tell what a change would do.
		if _, err := parseStorages(file, text, perm, env); err != nil {
			return nil, err
		}
	}
	after, err := c.edit(file, string(text))
	if err != nil {
		return nil, err
	}
	cfg, err := parseStorages(file, []byte(after), perm, env)
	if err != nil {
		return nil, fmt.Errorf("with this change the configuration would have a mistake, so nothing was written: %w", err)
	}
	return &changed{cfg, target, after, perm}, nil
}

// setting is a key that gets a value, or with "" loses it.
type setting struct {
	path  []string
	value string
}

// settings returns what has to stand in the document, but for the mount. vals is how it is.
func (c S3Change) settings(vals map[string]any) []setting {
	storage := []string{"storages", c.Storage}
	s3 := append(slices.Clone(storage), "s3")
	under := func(table []string, key string) []string { return append(slices.Clone(table), key) }
	all := []setting{
		{under(storage, "backend"), string(BackendS3)},
		{under(s3, "bucket"), c.Bucket},
	}
	if c.Region != nil {
		all = append(all, setting{under(s3, "region"), *c.Region})
	}
	if c.Endpoint != nil {
		all = append(all, setting{under(s3, "endpoint"), *c.Endpoint})
	}
	all = append(all, setting{under(s3, "credentials"), c.Credentials})
	if c.Mode != "" {
		where := s3
		if valueAt(vals, under(storage, "mode")) != nil {
			where = storage
		}
		all = append(all, setting{under(where, "mode"), string(c.Mode)})
	}
	return all
}

// valueAt returns what a decoded document has at a path; nil for nothing.
func valueAt(vals map[string]any, path []string) any {
	for _, name := range path[:len(path)-1] {
		vals, _ = vals[name].(map[string]any)
	}
	return vals[path[len(path)-1]]
}

// edit returns text with the change made.
func (c S3Change) edit(file, text string) (string, error) {
	d := &draft{text: strings.TrimPrefix(text, "\ufeff"), newline: "\n"}
	d.mark = text[:len(text)-len(d.text)]
	if strings.Contains(text, "\r\n") {
		d.newline = "\r\n"
	}
	want, err := decode(text)
	if err != nil {
		return "", err
	}
	settings := c.settings(want)
	for _, s := range settings {
		if err := d.set(want, s); err != nil {
			return "", c.byHand(file, err, settings)
		}
	}
	if c.Mount != nil {
		if err := d.mount(want, c); err != nil {
			return "", c.byHand(file, err, settings)
		}
	}
	// What counts is what the text says, not what the editing meant.
	if got, err := decode(d.text); err != nil || !reflect.DeepEqual(got, want) {
		return "", c.byHand(file, errShape, settings)
	}
	return d.mark + d.text, nil
}

func decode(text string) (map[string]any, error) {
	vals := make(map[string]any)
	_, err := toml.Decode(text, &vals)
	return vals, err
}

// errShape says that a text is written in a way that cannot be edited here.
var errShape = errors.New("it is written in a way that cannot be changed without rewriting it")

// byHand tells a person what to write.
func (c S3Change) byHand(file string, err error, settings []setting) error {
	lines := assignments(settings)
	if c.Mount != nil {
		lines = append(lines, "and in [[mounts]] "+strings.Join(assignments(c.mountSettings()), ", "))
	}
	return fmt.Errorf("%s: %w: nothing was written; change it by hand to say %s", show(file), err, strings.Join(lines, ", "))
}

// assignments writes settings as lines of TOML.
func assignments(settings []setting) (lines []string) {
	for _, s := range settings {
		if s.value != "" {
			lines = append(lines, toml.Key(s.path).String()+" = "+literal(s.value))
		}
	}
	return lines
}

// literal writes a string as TOML, with single quotes where that spares escapes.
func literal(s string) string {
	if strings.Contains(s, `\`) && !strings.ContainsFunc(s, func(r rune) bool { return r == '\'' || r < 0x20 || r == 0x7f }) {
		return "'" + s + "'"
	}
	b, err := toml.Marshal(map[string]string{"s": s})
	if err != nil {
		panic(err) // a map of strings can always be written
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(b), "s = "), "\n")
}

// draft is the text of a configuration while it is changed.
type draft struct {
	mark    string // a byte order mark, or nothing
	text    string
	newline string // how lines end
}

// set makes a key have a value, in the text and in want, the decoded document.
func (d *draft) set(want map[string]any, s setting) error {
	root, err := findPlaces(d.text)
	if err != nil {
		return errShape
	}
	key := s.path[len(s.path)-1]
	into := want
	for _, name := range s.path[:len(s.path)-1] {
		next, isTable := into[name].(map[string]any)
		if !isTable {
			if s.value == "" {
				return nil
			}
			next = make(map[string]any)
			into[name] = next
		}
		into = next
	}
	assign(into, key, s.value)
	at, missing := root, s.path // the innermost table that is there, and the path from it on
	for len(missing) > 1 && at.keys[missing[0]] != nil {
		at, missing = at.keys[missing[0]], missing[1:]
	}
	return d.put(at, missing, s)
}

// assign gives a key of a decoded table its value, or with "" removes it.
func assign(table map[string]any, key, value string) {
	if value == "" {
		delete(table, key)
	} else {
		table[key] = value
	}
}

// put writes the rest of a setting's path, missing, below the table at.
func (d *draft) put(at *place, missing []string, s setting) error {
	key := missing[len(missing)-1]
	old := at.keys[key]
	line := toml.Key{key}.String() + " = " + literal(s.value)
	switch {
	case len(missing) == 1 && old != nil:
		if old.from == old.to {
			return errShape
		}
		if s.value != "" {
			d.text = d.text[:old.from] + literal(s.value) + d.text[old.to:]
			return nil
		}
		end := strings.IndexByte(d.text[old.to:], '\n')
		if at.tail == 0 || end < 0 && old.first == 0 {
			return errShape
		}
		if end < 0 {
			d.text = d.text[:old.first]
			return nil
		}
		d.text = d.text[:old.first] + d.text[old.to+end+1:]
	case s.value == "":
	case len(missing) == 1 && at.tail > 0:
		d.insert(at.tail, line+d.newline)
	case len(missing) == 1 && at.from < at.to && d.text[at.from] == '{':
		end := at.to - 1
		before := strings.TrimRight(d.text[at.from:end], " \t")
		if len(at.keys) > 0 {
			before += ","
		}
		d.text = d.text[:at.from] + before + " " + line + " " + d.text[end:]
	case at.from == at.to && !at.dotted:
		// A table of its own: behind the one it belongs to, or at the end.
		head := "[" + toml.Key(s.path[:len(s.path)-1]).String() + "]" + d.newline + line + d.newline
		if at.tail > 0 && len(missing) < len(s.path) {
			if rest := d.text[at.tail:]; rest != "" && !strings.HasPrefix(rest, d.newline) {
				head += d.newline
			}
			d.insert(at.tail, d.newline+head)
		} else {
			d.appendTable(head)
		}
	default:
		return errShape
	}
	return nil
}

// insert puts whole lines at a place where a line begins, or ends without a line end.
func (d *draft) insert(at int, lines string) {
	if at > 0 && d.text[at-1] != '\n' {
		lines = d.newline + lines
	}
	d.text = d.text[:at] + lines + d.text[at:]
}

// appendTable puts a table at the end, after an empty line.
func (d *draft) appendTable(lines string) {
	if d.text != "" {
		d.text = strings.TrimRight(d.text, " \t\r\n") + d.newline + d.newline
	}
	d.text += lines
}

// mountSettings returns what has to stand in the mount's table.
func (c S3Change) mountSettings() []setting {
	settings := []setting{
		{[]string{"name"}, c.Mount.Name},
		{[]string{"mount_path"}, c.Mount.Path},
		{[]string{"storage"}, c.Storage},
	}
	if c.Mount.Prefix != nil {
		settings = append(settings, setting{[]string{"prefix"}, *c.Mount.Prefix})
	}
	return settings
}

// mount adds the mount of a change, or changes the one of its name.
func (d *draft) mount(want map[string]any, c S3Change) error {
	settings := c.mountSettings()
	tables, _ := want["mounts"].([]map[string]any)
	same := slices.IndexFunc(tables, func(t map[string]any) bool {
		name, _ := t["name"].(string)
		return strings.EqualFold(name, c.Mount.Name)
	})
	if same >= 0 {
		for _, s := range settings {
			root, err := findPlaces(d.text)
			if err != nil || root.key("mounts").items == nil {
				return errShape
			}
			assign(tables[same], s.path[0], s.value)
			if err := d.put(root.key("mounts").items[same], s.path, s); err != nil {
				return err
			}
		}
		return nil
	}
	if _, isList := want["mounts"]; isList && tables == nil {
		return errShape
	}
	table := make(map[string]any)
	lines := "[[mounts]]" + d.newline
	for _, s := range settings {
		if s.value != "" {
			table[s.path[0]] = s.value
			lines += s.path[0] + " = " + literal(s.value) + d.newline
		}
	}
	want["mounts"] = append(slices.Clone(tables), maps.Clone(table))
	d.appendTable(lines)
	return nil
}
