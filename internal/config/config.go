// Package config reads Pocket's config.toml.
//
// [Load] finds the file, checks all of it and resolves everything a mount needs:
// paths are expanded and absolute, every mount carries its storage by value
// together with the mode and the sizes that apply to it. A caller never looks
// anything up again.
//
// A mistake in the file is an error, never replaced by a default. Every mistake
// is one line that names the file, the line, the key and what to do next; several
// are reported together, joined with [errors.Join], in the order of the file. What
// is suspicious but may be meant comes back in [Config.Warnings] in the same shape.
//
// The format is described for users in docs/config.md.
package config

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Config is a whole configuration file, checked and resolved. It is not changed
// after Load returned it and may be read concurrently.
type Config struct {
	// File is the absolute path of the file that was read.
	File string

	// Storages holds the storages of the file by name. The built-in memory storage
	// is among them only when a mount uses it or the file defines it.
	Storages map[string]Storage

	// Mounts is in the order of the file and never empty.
	Mounts []Mount

	// Warnings are lines for a person: what was accepted although it may not be meant.
	Warnings []string
}

// Backend is the kind of a storage.
type Backend string

// The backends a storage may name, compared exactly.
const (
	BackendS3     Backend = "s3"     // a bucket of an S3-compatible service
	BackendMemory Backend = "memory" // nothing survives the process
	BackendDir    Backend = "dir"    // a folder used as a bucket
)

// Mode says what close and fsync wait for.
type Mode string

// The modes of a mount.
const (
	ModeBuffered Mode = "buffered" // acknowledge from the journal on this machine
	ModeSync     Mode = "sync"     // close and fsync wait for the bucket
)

// What applies where the file says nothing, and the bounds of what it may say; sizes are
// in bytes.
const (
	DefaultMode = ModeBuffered

	DefaultChunkSize = 4 << 20
	MinChunkSize     = 64 << 10
	MaxChunkSize     = 64 << 20

	MinCacheSize = 64 << 20
	MaxCacheSize = 1 << 50

	MaxUploads = 256

	DefaultInfoTimeout = time.Second
	MinInfoTimeout     = time.Millisecond
	MaxInfoTimeout     = time.Hour
	MaxThreads         = 256
	maxLocalNames      = 1000

	DefaultReadWait = time.Minute
	MinReadWait     = time.Second
	MaxReadWait     = 24 * time.Hour

	minChunks = 8 // a cache holds at least; fewer would be fetched over and over
)

// Storage is one [storages.NAME] table.
type Storage struct {
	Name    string
	Backend Backend
	S3      S3  // meaningful when Backend is BackendS3
	Dir     Dir // meaningful when Backend is BackendDir

	Mode      Mode  // DefaultMode when the file names none
	ChunkSize int64 // bytes, MinChunkSize to MaxChunkSize
	CacheSize int64 // bytes, MinCacheSize to MaxCacheSize, and at least 8 chunks; 0 when the file says nothing
	Uploads   int   // at once, 1 to MaxUploads; 0 when the file says nothing

	ReadWait time.Duration // how long a read waits for a store that does not answer, MinReadWait to MaxReadWait
}

// S3 says which bucket and as whom. When Credentials names a profile it is used;
// otherwise the two keys, when given; otherwise the SDK's default chain.
type S3 struct {
	Bucket          string
	Region          string // may be empty
	Endpoint        string // http(s) URL; empty for AWS itself
	Credentials     string // name of a profile, see internal/creds; may be empty
	AccessKeyID     string // may be empty
	SecretAccessKey Secret // empty exactly when AccessKeyID is
}

// Dir says which folder serves as the bucket.
type Dir struct {
	Path string // expanded, absolute, clean
}

// Mount is one [[mounts]] table with all it refers to.
type Mount struct {
	Name      string // given, or the last element of Path; unique, letter case aside
	Path      string // where to mount: expanded, absolute, clean; on Windows possibly a drive, "X:", or AnyDrive
	Storage   Storage
	Prefix    string // verbatim from the file
	Mode      Mode   // the mount's own, else the storage's
	ChunkSize int64  // bytes, from the storage
	CacheSize int64  // bytes, from the storage; 0: what suits the disk
	Uploads   int    // at once, from the storage; 0: as many as usual
	Import    bool   // an empty store takes in what is at Path
	Windows   Windows
	// LocalNames are names, with * and ? as in a shell, of what stays on this machine; nil:
	// those of the system it runs on.
	LocalNames []string
	Line       int // line of the table in Config.File, from 1
}

// AnyDrive is the Path of a mount on whatever drive is free when it begins.
const AnyDrive = "*"

// Windows is the table [mounts.windows], which counts there alone.
type Windows struct {
	InfoTimeout time.Duration // how long Windows trusts what it knows of a file; negative: for ever
	Threads     int           // that answer requests; 0: as many as usual
	Links       bool          // symbolic links are shown and made also where there are none yet
}

// Secret is a string that does not show itself: formatting, logging and marshalling
// give a placeholder. Convert it to string where its value is needed.
type Secret string

const redacted = "(secret)"

// String returns a placeholder, or nothing when the secret is empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// Format is String for every verb: %d would show the value in its complaint.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
