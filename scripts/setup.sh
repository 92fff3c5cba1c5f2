#!/usr/bin/env bash
# Installs what building and mounting need on Debian and its relatives, and says so: gcc,
# libfuse-dev (headers and libfuse.so.2), fuse3 (fusermount); with --tests git, sqlite3, rsync,
# ssh-keygen, D-Bus and a keyring; with --windows Wine and a C compiler for Windows. Does nothing
# when all is there.
# As a normal user it asks sudo.
set -euo pipefail

say() { printf 'setup: %s\n' "$*"; }

need=()
want() { # want COMMAND-OR-FILE PACKAGE
	case $1 in
	/*) [ -e "$1" ] || need+=("$2") ;;
	*) command -v "$1" >/dev/null || need+=("$2") ;;
	esac
}

want gcc gcc
want /usr/include/fuse/fuse.h libfuse-dev
want fusermount fuse3
[ -e /usr/include/stdlib.h ] || need+=(libc6-dev)
if [ "${1:-}" = --tests ]; then
	want git git
	want sqlite3 sqlite3
	want rsync rsync
	want ssh-keygen openssh-client
	want dbus-run-session dbus-daemon
	want gnome-keyring-daemon gnome-keyring
fi
[ "${1:-}" != --package ] || want zip zip
if [ "${1:-}" = --windows ]; then
	want /usr/lib/wine/wine64 wine64
	want x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64
fi

if ! command -v go >/dev/null; then
	say "Go is missing: install Go 1.26 or newer from https://go.dev/dl/ and put its bin directory on PATH"
	exit 1
fi

if [ ${#need[@]} -gt 0 ]; then
	if ! command -v apt-get >/dev/null; then
		say "missing: ${need[*]} (Debian's names): install them with this system's package tool, then run this again"
		exit 1
	fi
	sudo=()
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || { say "missing: ${need[*]}; run as root: apt-get install ${need[*]}"; exit 1; }
		sudo=(sudo)
	fi
	say "installing ${need[*]}"
	"${sudo[@]}" apt-get update -qq
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi

[ "${1:-}" != --package ] || exit 0 # nothing is mounted
if [ ! -e /dev/fuse ]; then
	say "/dev/fuse is missing: load the fuse module (modprobe fuse), or give the container --device /dev/fuse --cap-add SYS_ADMIN"
	exit 1
fi
if [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
	say "/dev/fuse is not open to this user: run as root once: chmod 666 /dev/fuse"
	exit 1
fi
