#!/usr/bin/env bash
# Checks loroindex/loro against the official Loro library, two versions of it: each
# reads random documents the other wrote, both edit documents together, and both
# judge damaged ones. Needs Go, node and npm; the library is downloaded once
# into ${XDG_CACHE_HOME:-~/.cache}/pocket-loro-oracle.
#
#   scripts/check-loro.sh [--full] [--seed N]
#
# --full takes half an hour rather than a minute or two. Everything random is made
# from the seed, 1 unless given.
set -euo pipefail
cd "$(dirname "$0")/.."

seed=1 documents=12 mutants=400 rounds=120 families=(--only positions,rewritten,values)
while [ $# -gt 0 ]; do
	case $1 in
	--full) documents=300 mutants=10000 rounds=1000 families=() ;;
	--seed) seed=${2:?--seed needs a number}; shift ;;
	*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2 ;;
	esac
	shift
done
. scripts/loro-oracle/install.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
started=$SECONDS
step() { printf '%4d s  %s\n' $((SECONDS - started)) "$*"; }

step "building"
go build -o "$work/" ./scripts/loroblobs ./scripts/loro-oracle/crossplay
step "documents written here, read by the official library (seed $seed)"
"$work/loroblobs" -seed "$seed" -n $documents "$work/documents"
node $oracle/check.mjs "$work/documents"
step "documents written by the official library, read here"
node $oracle/vectors.mjs "$work/vectors" --seed "$seed" "${families[@]}"
LORO_VECTORS="$work/vectors" go test -count=1 -run TestVectors ./loroindex/loro
step "cross-play"
"$work/crossplay" -seed "$seed" -rounds $rounds
for from in "" loroindex/loro/testdata/vectors/blobs "$work/vectors/blobs"; do
	step "damaged documents${from:+ of ${from#"$work"/}}"
	"$work/loroblobs" -mutate -seed "$seed" -n $mutants -from "$from" "$work/mutants"
	node $oracle/mutants.mjs "$work/mutants"
done
step "all agree"
