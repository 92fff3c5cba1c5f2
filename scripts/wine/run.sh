#!/bin/sh
# Runs a Windows program under Wine, in the prefix that test-windows.sh made: what
# "go test -exec" wants.
#
# Services that Wine starts for a program inherit its output and go on, and "go test" would
# wait for them. So the output goes into a file first.
out=$(mktemp)
trap 'rm -f "$out"' EXIT
WINEDEBUG=-all /usr/lib/wine/wine64 "$@" >"$out" 2>&1 &
trap 'kill $!' INT QUIT TERM
wait $!
code=$?
cat "$out"
exit $code
