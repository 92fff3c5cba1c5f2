package deps

// project is the module path.
const project = "github.com/hamflx/pocket"

// Places in the tables are directories below the root of the module: "a/b" is that
// directory, "a/b/..." it and all below, "..." everything.

// layers says which package must not reach which, through others neither.
var layers = []layer{
	{from: "objstore/...", to: []string{"loroindex/...", "fsimpl/..."},
		reason: "a store keeps objects under keys and knows nothing of trees or files"},
	{from: "loroindex/...", to: []string{"objstore/...", "fsimpl/...", "internal/journal", "internal/chunkcache", "internal/statedir"},
		reason: "the index declares the bucket and the local state it needs as interfaces of its own"},
	{from: "loroindex/loro/...", to: []string{"..."}, except: []string{"loroindex/loro/..."},
		reason: "Loro in Go depends on nothing of Pocket and could be a module of its own"},
	{from: "fsimpl/...", notFrom: []string{"fsimpl/fusehost/..."}, to: []string{"fsimpl/fusehost/..."},
		reason: "the file system is written in Go's terms and is tested without FUSE"},
	{from: "internal/objectid", to: []string{"..."}, except: []string{"internal/objectid"},
		reason: "the name of an object is below everything"},
	{from: "internal/...", notFrom: upper, to: []string{"objstore/...", "loroindex/...", "fsimpl/..."},
		reason: "what lies in internal serves the layers above it and does not know them (a package that joins layers is listed in upper)"},
	{from: "...", notFrom: []string{"cmd/..."}, to: []string{"cmd/..."},
		reason: "commands are on top"},
	{from: "...", notFrom: []string{"e2e/..."}, to: []string{"e2e/..."},
		reason: "the end-to-end tests use the project, not the other way round"},
	{from: "...", notFrom: []string{"objstore/storetest/...", "e2e/...", "scripts/..."}, to: []string{"objstore/storetest/..."}, testsMay: true,
		reason: "the conformance suite and the S3 service in process are for tests and measurements"},
}

// upper are the packages of internal that join layers for several commands.
var upper = []string{"internal/deps", "internal/openstore"}

// modules says where each module may be imported; one that is not listed may be nowhere.
var modules = []module{
	{path: "github.com/winfsp/cgofuse", in: []string{"fsimpl/fusehost/..."},
		reason: "FUSE and WinFsp; one importer, so that everything else is tested without a mount"},
	{path: "github.com/aws/aws-sdk-go-v2", in: []string{"objstore/s3store/...", "scripts/bench/compare"},
		reason: "S3; one importer, since it is large and its errors need translating in one place (the benchmark shows what it reaches by itself)"},
	{path: "github.com/aws/smithy-go", in: []string{"objstore/s3store/..."},
		reason: "the error and transport types of the AWS SDK"},
	{path: "github.com/johannesboyne/gofakes3", in: []string{"objstore/storetest/...", "e2e/...", "scripts/s3server"}, tests: true,
		reason: "an S3 service; for tests and the benchmark alone"},
	{path: "github.com/hanwen/go-fuse", in: []string{"e2e/..."}, tests: true,
		reason: "the disk of the crash tests, which notes every write and sync; pure Go, and answers the kernel itself; for tests alone"},
	{path: "github.com/pierrec/lz4", in: []string{"loroindex/loro/..."},
		reason: "the compression of Loro's blocks"},
	{path: "modernc.org/sqlite", in: []string{"internal/journal/..."},
		reason: "the journal's database: pure Go, so that Windows builds need no C compiler"},
	{path: "github.com/BurntSushi/toml", in: []string{"internal/config/..."},
		reason: "config.toml; others get a Config, checked and resolved"},
	{path: "github.com/Microsoft/go-winio", in: []string{"internal/control"},
		reason: "named pipes with an access list, as connections of package net"},
	{path: "github.com/zalando/go-keyring", in: []string{"internal/creds"},
		reason: "the keyrings of Linux and macOS without a C compiler; secrets are kept in one place"},
	{path: "github.com/godbus/dbus", in: []string{"internal/creds"},
		reason: "tells whether there is a keyring on D-Bus without unlocking it; the keyring library speaks through it"},
	{path: "github.com/spf13/pflag", in: []string{"cmd/..."},
		reason: "flags belong to commands"},
	{path: "golang.org/x/term", in: []string{"internal/term/..."},
		reason: "terminals; others ask internal/term"},
	{path: "golang.org/x/sys/windows/registry", in: []string{"internal/...", "fsimpl/fusehost/...", "e2e/..."},
		reason: "the registry is machine state, which commands and layers reach through internal"},
	{path: "golang.org/x/sys", in: []string{"..."},
		reason: "system calls the standard library lacks"},
	{path: "golang.org/x/sync", in: []string{"..."},
		reason: "semaphores and groups for parallel requests"},
	{path: "github.com/stretchr/testify", in: []string{"objstore/storetest/...", "e2e/..."}, tests: true,
		reason: "assertions; for tests alone"},
	{path: "github.com/rogpeppe/go-internal", in: []string{"e2e/..."}, tests: true,
		reason: "testscript and txtar; for tests alone"},
	{path: "C", in: []string{"fsimpl/fusehost/...", "e2e/..."},
		reason: "C is for what libfuse needs, beside cgofuse: nothing else may need a C compiler, and Windows builds have none"},
}

// symbols says where single functions of a module may be used.
var symbols = []symbol{
	{path: "golang.org/x/sys/windows", names: []string{"CryptProtectData", "CryptUnprotectData"}, in: []string{"internal/creds"},
		reason: "secrets are encrypted in one place"},
}

// phrases must not occur in any text of the project. They are put together here so that
// this file does not hold them.
var phrases = []phrase{
	{text: "/wo" + "rk/", reason: "a path of the machine it was written on: name the file by its place in the project"},
	{text: "sha" + "red/", wordStart: true, reason: "a folder outside of the project: name the document in docs, or reword"},
}
