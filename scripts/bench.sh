#!/usr/bin/env bash
# Measures a mount of Pocket beside a plain directory on the same disk.
#
#   scripts/bench.sh                 a table
#   scripts/bench.sh --json          the same for a program
#   scripts/bench.sh --runs 5 --only write,read --dir /mnt/disk
set -euo pipefail
cd "$(dirname "$0")/.."

./scripts/setup.sh >&2
go build -o bin/ ./cmd/pocket
go build -o bin/bench ./scripts/bench
exec bin/bench -pocket bin/pocket "$@"
