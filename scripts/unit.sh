#!/bin/bash
# unit.sh PACKAGE...: unit tests with the race detector. A package in which the detector itself crashed ("ThreadSanitizer: CHECK failed", seen with
# Go 1.26 in tests of many short-lived bubbles of synctest) has found nothing and shown nothing: it runs again, up to three times. A failed test stays one.
set -euo pipefail
cd "$(dirname "$0")/.."
# A program with the race detector sleeps for a second when it ends, and the tests start hundreds.
export GORACE="${GORACE:-atexit_sleep_ms=20}"
log=$(mktemp); trap 'rm -f "$log"' EXIT
for try in 1 2 3 4; do
  if CGO_ENABLED=1 go test -race -json -timeout 15m "$@" | tee "$log" | go run ./internal/report -quiet -title "Unit tests"; then exit 0; fi
  crashed=$(sed -n 's/.*"Package":"\([^"]*\)".*ThreadSanitizer: CHECK failed.*/\1/p' "$log" | sort -u)
  failed=$(grep '"Action":"fail"' "$log" | sed -n 's/.*"Package":"\([^"]*\)".*/\1/p' | sort -u)
  if [ -z "$crashed" ] || [ "$crashed" != "$failed" ]; then exit 1; fi
  echo "the race detector crashed by itself in: $crashed"
  set -- $crashed
done
exit 1
