#!/bin/bash
# continuity.sh [REGEXP]: what `make continuity` runs, as root: each fault under the steady load, and a start without the server. A regular
# expression for `go test -run` tries some of it, without a report.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/rigdeps.sh
if [ $# -gt 0 ]; then
  CAUSEWAY_RIGS=all exec go test -count=1 -timeout 60m -v -run "$1" ./internal/continuity
fi
CAUSEWAY_RIGS=all go test -json -count=1 -timeout 60m -skip '^TestBlackhole$' ./internal/continuity | go run ./internal/report -title "Continuity report" -o docs/reports/continuity.md
