#!/usr/bin/env bash
# Runs every test there is: formatting, vet, builds for the other systems, unit tests
# under the race detector, those for Windows under Wine, and e2e with real mounts of the
# built binaries.
set -euo pipefail
cd "$(dirname "$0")/.."

started=$SECONDS
# A package's tests may take this long: some take minutes, and more on a busy machine.
limit=30m
step() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - started)); }

step "what the tests need"
./scripts/setup.sh --tests

step "formatting"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { printf 'not gofmt-ed:\n%s\n' "$unformatted"; exit 1; }

step "linux: build, vet"
go build ./...
go vet ./...

step "windows: vet, tests under Wine, pocket.exe with a stand-in for WinFsp"
./scripts/test-windows.sh

step "macOS, arm64: build the parts with code of their own"
# Mounting needs a C compiler for the target there. SQLite and the S3 client are left
# out because compiling them takes longer than all the rest, and holds nothing of ours.
portable=$(go list -f '{{if not .Standard}}{{.ImportPath}} {{join .Deps " "}}{{end}}' ./... |
	grep -v -e cgofuse -e modernc.org/sqlite -e aws-sdk-go -e /e2e -e /fusehost | cut -d' ' -f1)
for target in darwin/arm64 linux/arm64 windows/arm64; do
	GOOS=${target%/*} GOARCH=${target#*/} CGO_ENABLED=0 go build $portable
done

step "workflows"
go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

step "unit tests, race detector"
# Loro itself is for one goroutine at a time, and its tests are long, as are those of the
# tools: they run without.
long='/loroindex|/scripts/|/cmd/pocket-index'
go test -timeout $limit -race $(go list ./... | grep -v -E "/e2e|$long")
go test -timeout $limit $(go list ./... | grep -E "$long")
go test -timeout $limit -race -run 'Concurrent|While|Failure|Reader|Large' ./loroindex/...

step "e2e: the built binaries and real mounts"
go test -timeout $limit -count=1 ./e2e/...

if command -v node >/dev/null && command -v npm >/dev/null; then
	step "what is written, read by the official Loro library"
	./scripts/check-loro.sh
else
	step "skipped: the check against the official Loro library needs node and npm"
fi

step "all passed"
