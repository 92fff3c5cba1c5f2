# Sourced by check-loro.sh and bench-loro.sh at the top of the tree: installs the
# official library once, outside of the tree, and says in LORO_ORACLE where.

for tool in go node npm; do
	command -v "$tool" >/dev/null || { echo "$0: $tool is not installed" >&2; exit 1; }
done

oracle=scripts/loro-oracle
# The directory is named by what is in it, so that a new version gets a new one.
LORO_ORACLE="${XDG_CACHE_HOME:-$HOME/.cache}/pocket-loro-oracle/$(cat $oracle/package.json $oracle/package-lock.json | cksum | tr ' ' -)"
export LORO_ORACLE
if [ ! -e "$LORO_ORACLE/node_modules" ]; then
	echo "installing the official Loro library into $LORO_ORACLE"
	mkdir -p "$(dirname "$LORO_ORACLE")"
	fresh=$(mktemp -d "$LORO_ORACLE.XXXXXX")
	cp $oracle/package.json $oracle/package-lock.json "$fresh"
	(cd "$fresh" && npm ci --silent --ignore-scripts --no-audit --no-fund)
	mv -T "$fresh" "$LORO_ORACLE" 2>/dev/null || rm -rf "$fresh" # another run was faster
fi
