#!/usr/bin/env bash
# Measures the index of 10k, 100k and 1M files in memory: opening it, walking it, single
# changes, and what publishing one writes.
#
#   scripts/bench-index.sh
#   scripts/bench-index.sh -files 10000,100000 -json
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p bin
go build -o bin/indexbench ./scripts/indexbench
exec bin/indexbench "$@"
