#!/usr/bin/env bash
# Builds and vets everything for Windows, and runs the tests of what has code of its own
# there under Wine. With package patterns it tests those alone.
set -euo pipefail
cd "$(dirname "$0")/.."

./scripts/setup.sh --windows

work=${TMPDIR:-/tmp}/pocket-wine-$(id -u)
mkdir -p -m 700 "$work"
export WINEPREFIX=$work/prefix WINEDEBUG=-all GOOS=windows GOARCH=amd64 CGO_ENABLED=0

if [ ! -e "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" ]; then
	/usr/lib/wine/wine64 wineboot --init >/dev/null 2>&1
	x86_64-w64-mingw32-gcc -shared -O2 -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
		scripts/wine/bcryptprimitives.c -ladvapi32
fi

# Deleting a file by POSIX semantics is "not implemented" in Wine 8, where Windows says
# "not supported" and Go then deletes it the older way. Told so, Go does the same here.
source=$(go env GOROOT)/src/internal/syscall/windows/at_windows.go
sed 's/STATUS_INVALID_INFO_CLASS,/NTStatus(0xC0000002), &/' "$source" >"$work/at_windows.go"
! cmp -s "$source" "$work/at_windows.go" || { echo "test-windows: $source is not as expected: see how it deletes files"; exit 1; }
printf '{"Replace": {"%s": "%s"}}\n' "$source" "$work/at_windows.go" >"$work/overlay.json"

if [ $# -eq 0 ]; then
	go vet -overlay "$work/overlay.json" ./...
	# What is the same everywhere (Loro, manifests, ...) is tested on Linux.
	set -- ./cmd/... ./fsimpl ./fsimpl/fusehost ./fsimpl/staging ./fsimpl/transfer ./internal/... ./objstore/dirstore
fi
go test -p 1 -overlay "$work/overlay.json" -exec "$PWD/scripts/wine/run.sh" "$@"
