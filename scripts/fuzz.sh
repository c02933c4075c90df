#!/bin/bash
# fuzz.sh TIME: runs each fuzz target for so long, one after the other. On a busy machine Go's fuzzer itself may fail as its time ends ("context deadline
# exceeded", go.dev/issue/75804, mended in Go 1.27), with no input that fails: it has found nothing, and the target runs again, up to three times. A failing input stays one.
# Inputs that reach something new are made smaller by a few executions only: by default Go gives that a minute for each, which with a seed of some
# thousand bytes (server/define's example) is all of the time, and nothing is tried any more.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp); trap 'rm -f "$log"' EXIT
fuzz() {
  for try in 1 2 3 4; do
    if go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 20x 2>&1 | tee "$log"; then return 0; fi
    if grep -q 'Failing input\|panic\|testdata/fuzz' "$log" || ! grep -q '^ *context deadline exceeded$' "$log"; then return 1; fi
    echo "fuzz: the fuzzer ended by its own deadline"
  done
  return 1
}
count=0
while IFS=: read -r file target; do
  echo "fuzz: $target in ${file%/*}"
  fuzz "./${file%/*}" "$target" "${1:-10s}"
  count=$((count + 1))
done < <(git ls-files '*_test.go' | xargs grep -oE '^func Fuzz[A-Za-z0-9_]+' | sed 's/func //')
echo "fuzz: $count targets"
[ "$count" -gt 0 ]
