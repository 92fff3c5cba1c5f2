#!/usr/bin/env bash
# Builds and vets everything for Windows, and runs the tests of the packages under Wine, and
# the programs themselves with a stand-in for WinFsp (e2e/standin).
#
#     scripts/test-windows.sh                 what CI runs, five to six minutes
#     scripts/test-windows.sh --all           the long ones as well
#     scripts/test-windows.sh ./internal/...  these packages alone
set -euo pipefail
cd "$(dirname "$0")/.."

./scripts/setup.sh --windows

work=${TMPDIR:-/tmp}/pocket-wine-$(id -u)
mkdir -p -m 700 "$work" "$work/prefix" # without the second, no server can stay
export WINEPREFIX=$work/prefix WINEDEBUG=-all LC_ALL=C.UTF-8 # without that, names are ASCII
windows() { GOOS=windows GOARCH=amd64 CGO_ENABLED=0 "$@"; }

# Wine's services stay, so that no program waits for their start. They have no output of
# ours: who waits for the end of a program's output would wait for theirs.
/usr/lib/wine/wineserver64 -p </dev/null >/dev/null 2>&1 || true # it may run already
trap '/usr/lib/wine/wineserver64 -k || true' EXIT
/usr/lib/wine/wine64 wineboot </dev/null >/dev/null 2>&1
if [ ! -e "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" ]; then
	x86_64-w64-mingw32-gcc -shared -O2 -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
		scripts/wine/bcryptprimitives.c -ladvapi32
fi

# Windows without a display: Wine makes none unless it is told to draw nothing.
grep -qs '"Graphics"="null"' "$WINEPREFIX/user.reg" ||
	/usr/lib/wine/wine64 reg add 'HKCU\Software\Wine\Drivers' /v Graphics /d null /f </dev/null >/dev/null

# Deleting a file by POSIX semantics is "not implemented" in Wine 8, where Windows says
# "not supported" and Go then deletes it the older way. Told so, Go does the same here.
source=$(go env GOROOT)/src/internal/syscall/windows/at_windows.go
sed 's/STATUS_INVALID_INFO_CLASS,/NTStatus(0xC0000002), &/' "$source" >"$work/at_windows.go"
! cmp -s "$source" "$work/at_windows.go" || { echo "test-windows: $source is not as expected: see how it deletes files"; exit 1; }
printf '{"Replace": {"%s": "%s"}}\n' "$source" "$work/at_windows.go" >"$work/overlay.json"

# What takes minutes here is left to --all, as are the tests of e2e that are not named below.
long='/internal/deps|/cmd/pocket-index|/fsimpl$|/fsimpl/staging|/fsimpl/transfer|/internal/journal|/objstore/dirstore'
case ${1:-} in
"") packages=($(go list ./... | grep -v -E "/e2e|/scripts|$long")) e2e=yes ;;
--all) packages=($(go list ./... | grep -v -E '/e2e|/scripts')) e2e=all ;;
*) packages=("$@") e2e= ;;
esac
[ -z "$e2e" ] || windows go vet -overlay "$work/overlay.json" ./...
windows go test -timeout 30m -overlay "$work/overlay.json" -exec "$PWD/scripts/wine/run.sh" "${packages[@]}"
[ -n "$e2e" ] || exit 0

# The programs with the stand-in, driven by the tests of Linux, by those that ask as WinFsp would or
# install pocket, and by some as they are built for Windows. With --all each test of e2e passes, or says why it
# means nothing here.
#
# The user's directories are those of the environment, as on Windows, not the prefix's.
for name in APPDATA LOCALAPPDATA USERPROFILE; do
	/usr/lib/wine/wine64 reg delete 'HKCU\Volatile Environment' /v $name /f </dev/null >/dev/null 2>&1 || true # gone since an earlier run
done
bin=$work/bin
mkdir -p "$bin"
windows go build -overlay "$work/overlay.json" -o "$bin/" ./cmd/...
x86_64-w64-mingw32-gcc -O2 -Wall -Wextra -Werror -shared -static-libgcc -o "$bin/winfsp-x64.dll" e2e/standin/dll/winfsp.c -lws2_32
x86_64-w64-mingw32-gcc -O2 -Wall -Wextra -Werror -static-libgcc -o "$bin/endsession.exe" e2e/standin/endsession/endsession.c -luser32
x86_64-w64-mingw32-gcc -O2 -Wall -Wextra -Werror -static-libgcc -o "$bin/unprotect.exe" scripts/wine/unprotect.c -lcrypt32
cases=(
	OnWindows TestHandlesKeepTheirOldPath TestDeletedFilesGoOnForTheirHandles
	TestFilesAreThereAfterRestart TestMemoryStoreForgets TestSyncModeClosesIntoBucket
	TestMistakes TestSecondPocketIsRefused TestDamagedObjectIsAnError TestMountPointThatExists
	TestRestoreWhileItRuns TestImportIntoAStoreWithFiles TestFsyncSurvivesKill TestWaysToStop
	TestFromTheAccessKeyToTheBucket TestUninstallByTheInstalledProgram TestTheTestsOfWindows
)
only=(-timeout 30m -run "$(IFS='|'; echo "${cases[*]}")")
if [ "$e2e" = all ]; then
	only=(-short -timeout 60m) # without the file of 1 GiB
	# Of those that are built for Windows all that need no bucket and none of Linux' programs.
	export POCKET_E2E_WINDOWS='TestConfigurationIs|TestFsync|TestHidden|TestImport|TestInput|TestInstall|TestLogIs|TestLogon|TestMistakes|TestMountPoint|TestOriginal|TestRestore|TestSecondPocket|TestStatusOfMount|TestStatusOfProcess|TestStopWithOpenFiles|TestUninstall|TestWaitCommits|TestWatch|TestWriters'
fi
POCKET_E2E_WINE=/usr/lib/wine/wine64 POCKET_E2E_BINARY=$bin/pocket.exe GOFLAGS=-overlay=$work/overlay.json \
	go test -count=1 ./e2e "${only[@]}"
