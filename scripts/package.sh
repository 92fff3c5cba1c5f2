#!/usr/bin/env bash
# Builds the three programs for a system and packs them into a zip file:
#
#   scripts/package.sh windows/amd64 dist    ->    dist/pocket-VERSION-windows-amd64.zip
#
# For Linux it runs on a machine of that kind: mounting there needs a C compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -eq 2 ] || { echo "usage: scripts/package.sh GOOS/GOARCH DIRECTORY"; exit 2; }
export GOOS=${1%/*} GOARCH=${1#*/}
mkdir -p "$2"
dist=$(cd "$2" && pwd)

case $GOOS in
windows) export CGO_ENABLED=0 ;;
linux) GOOS='' GOARCH='' ./scripts/setup.sh --package ;;
*) echo "package: there are no packages for $GOOS"; exit 2 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=pocket-$(git describe --tags --always --dirty)-$GOOS-$GOARCH
mkdir "$work/$name"
go build -trimpath -o "$work/$name/" ./cmd/...
cp README.md "$work/$name/"
cp -r docs "$work/$name/"
rm -f "$dist/$name.zip"
(cd "$work" && zip -q -r -X "$dist/$name.zip" "$name")
echo "$dist/$name.zip"
