#!/bin/bash
# packages-verify.sh: builds all packages twice, of the same commit in two directories, and compares every byte.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=${VERSION:-$(git describe --tags --always)}; export VERSION
work=$(mktemp -d /var/tmp/causeway-verify.XXXXXX); trap 'rm -rf "$work"' EXIT
from=.
for which in first second/elsewhere; do
  mkdir -p "$work/$which"
  git clone -q --no-hardlinks "$from" "$work/$which/source"
  from=$work/first/source # somebody may commit meanwhile
  (cd "$work/$which/source" && TMPDIR=$work/$which scripts/packages.sh "$work/$which/dist")
done
first=$work/first/dist second=$work/second/elsewhere/dist files=0
diff <(cd "$first" && ls) <(cd "$second" && ls)
for file in "$first"/*; do
  cmp "$file" "$second/$(basename "$file")"; files=$((files+1))
done
[ $files -ge 5 ] || { echo "only $files files: that proves nothing" >&2; exit 1; }
echo "$files files, built twice, byte for byte the same"
