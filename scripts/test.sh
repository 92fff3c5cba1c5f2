#!/usr/bin/env bash
# Runs every test there is: formatting, vet, builds for the other systems, unit tests
# under the race detector, and e2e with real mounts of the built binaries.
set -euo pipefail
cd "$(dirname "$0")/.."

started=$SECONDS
step() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - started)); }

step "what the tests need"
./scripts/setup.sh --tests

step "formatting"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { printf 'not gofmt-ed:\n%s\n' "$unformatted"; exit 1; }

step "linux: build, vet"
go build ./...
go vet ./...

step "windows, macOS, arm64: build, vet"
GOOS=windows CGO_ENABLED=0 go build ./...
GOOS=windows CGO_ENABLED=0 go vet ./...
GOOS=windows GOARCH=arm64 CGO_ENABLED=0 go build ./...
# Mounting needs cgo there, so that only what builds without a C compiler for the
# target is built here.
portable=$(go list ./... | grep -v -e /fusehost -e /cmd/pocket$ -e /session$ -e /e2e)
GOOS=darwin CGO_ENABLED=0 go build $portable
GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build $portable

step "unit tests, race detector"
go test -race $(go list ./... | grep -v /e2e)

step "e2e: the built binaries and real mounts"
go test -count=1 ./e2e/...

if command -v node >/dev/null && command -v npm >/dev/null; then
	step "what is written, read by the official Loro library"
	./scripts/check-loro.sh
else
	step "skipped: the check against the official Loro library needs node and npm"
fi

step "all passed"
