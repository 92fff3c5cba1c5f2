#!/usr/bin/env bash
# Shows Pocket at work: installs what is missing, builds, mounts a directory on the
# built-in memory store and one on a folder, writes and reads through both, mounts again
# to show what is still there, and unmounts. All of it happens in one temporary directory.
#
#   scripts/try.sh          try it
#   scripts/try.sh --keep   and stay mounted
set -euo pipefail
cd "$(dirname "$0")/.."

keep=
case "${1:-}" in
'') ;;
--keep) keep=1 ;;
-h | --help)
	sed -n '2,7s/^# \{0,1\}//p' "$0"
	exit 0
	;;
*)
	echo "try: unknown argument $1: there is --keep" >&2
	exit 2
	;;
esac

say() { printf '%-9s %s\n' "$1" "$2"; }
fail() {
	say failed "$1" >&2
	if [ -s "$dir/stderr" ]; then sed 's/^/          /' "$dir/stderr" >&2; fi
	exit 1
}

./scripts/setup.sh
seconds=$SECONDS
go build -o bin/ ./cmd/...
say built "bin/pocket ($((SECONDS - seconds)) s)"

dir=$(mktemp -d "${TMPDIR:-/tmp}/pocket-try.XXXXXX")
dir=$(cd "$dir" && pwd -P)
pid=
# Unmounts and removes everything, unless it is kept. What might still be mounted
# is left alone.
cleanup() {
	[ -n "$dir" ] || return 0
	if [ -n "$pid" ]; then
		kill -TERM "$pid" 2>/dev/null && wait "$pid" || true
	fi
	rm -rf --one-file-system "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mkdir "$dir/objects"
cat >"$dir/config.toml" <<END
[storages.folder]
backend = "dir"
[storages.folder.dir]
path = '$dir/objects'

[[mounts]]
name = "memory"
mount_path = '$dir/memory'
storage = "memory"

[[mounts]]
name = "folder"
mount_path = '$dir/folder'
storage = "folder"
END

# start runs pocket in the background until both mounts can be used.
start() {
	: >"$dir/stderr"
	XDG_DATA_HOME="$dir/data" bin/pocket --config "$dir/config.toml" </dev/null >/dev/null 2>"$dir/stderr" &
	pid=$!
	local mount
	for mount in memory folder; do
		until grep -q "^pocket: mounted $mount at " "$dir/stderr"; do
			kill -0 "$pid" 2>/dev/null || { pid=; fail "pocket ended before $mount was mounted:"; }
			sleep 0.05
		done
	done
}

# stop ends pocket as Ctrl-C in its terminal does.
stop() {
	kill -INT "$pid"
	wait "$pid" || fail "pocket ended with code $?:"
	pid=
	[ ! -e "$dir/folder/hello.txt" ] || fail "$dir/folder is still mounted"
}

# use writes into a mount, reads it again, and says so.
use() {
	local at=$dir/$1 size
	echo "hello from $1" >"$at/hello.txt"
	[ "$(cat "$at/hello.txt")" = "hello from $1" ] || fail "$at/hello.txt reads differently than it was written"
	mkdir -p "$at/project/src"
	cp -R cmd "$at/project/src/"
	diff -r cmd "$at/project/src/cmd" >/dev/null || fail "$at/project differs from what was copied"
	head -c 20000000 /dev/urandom >"$dir/large"
	cp "$dir/large" "$at/project/large"
	cmp -s "$dir/large" "$at/project/large" || fail "$at/project/large differs from what was copied"
	mv "$at/project" "$at/renamed"
	size=$(find "$at" -type f | wc -l)
	say "$1" "wrote and read $size files at $at, one of 20 MB; renamed their directory"
}

start
say mounted "memory (gone when pocket stops) and folder (kept in $dir/objects)"
use memory
use folder
stop
say stopped "everything uploaded, both unmounted; $(find "$dir/objects" -type f | wc -l) objects in the folder"
start
[ "$(cat "$dir/folder/hello.txt")" = "hello from folder" ] || fail "$dir/folder/hello.txt is not there any more"
cmp -s "$dir/large" "$dir/folder/renamed/large" || fail "$dir/folder/renamed/large is not what was written"
[ -z "$(ls -A "$dir/memory")" ] || fail "$dir/memory is not empty"
say again "mounted again: folder has all its files, memory is empty"

if [ -n "$keep" ]; then
	rm "$dir/large"
	say kept "$dir/memory and $dir/folder stay mounted"
	say stop "kill -INT $pid    (or fusermount -u for one of them; then rm -r $dir)"
	dir=
	exit 0
fi
stop
say done "all unmounted; $dir is removed"
