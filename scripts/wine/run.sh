#!/bin/sh
# Runs a Windows program under Wine, in the prefix that test-windows.sh made: what
# "go test -exec" wants.
WINEDEBUG=-all exec /usr/lib/wine/wine64 "$@"
