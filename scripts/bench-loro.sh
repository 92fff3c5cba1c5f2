#!/usr/bin/env bash
# Measures loroindex/loro and the official Loro library on the same bytes, one
# after the other several times, and prints the medians and their ratio. Needs Go,
# node and npm.
#
#   scripts/bench-loro.sh [VERSION]     1.17.1 unless given, or 1.10.3
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-1.17.1}
. scripts/loro-oracle/install.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/" ./scripts/loro-oracle/bench
"$work/bench" -write "$work"
official() { node --expose-gc $oracle/bench.mjs "$1" "$work" "$version" 2; }
official prepare
for _ in 1 2 3; do
	"$work/bench" -measure "$work" -repeat 4 >>"$work/ours.json"
	official measure >>"$work/official.json"
done
echo "official: loro-crdt $version in node $(node --version); $(nproc) processors"
"$work/bench" -table "$work/ours.json" "$work/official.json"
