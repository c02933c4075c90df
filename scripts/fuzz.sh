#!/bin/bash
# fuzz.sh TIME: runs each fuzz target for so long, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
count=0
while IFS=: read -r file target; do
  echo "fuzz: $target in ${file%/*}"
  go test "./${file%/*}" -run '^$' -fuzz "^$target\$" -fuzztime "${1:-10s}"
  count=$((count + 1))
done < <(git ls-files '*_test.go' | xargs grep -oE '^func Fuzz[A-Za-z0-9_]+' | sed 's/func //')
echo "fuzz: $count targets"
[ "$count" -gt 0 ]
