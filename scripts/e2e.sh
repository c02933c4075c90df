#!/bin/bash
# e2e.sh: what `make e2e` runs, as root: every rig, with a report.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/rigdeps.sh
CAUSEWAY_RIGS=all go test -p 1 -json -count=1 -timeout 60m ./internal/e2e ./internal/testnet ./internal/continuity | go run ./internal/report -title "End-to-end report" -o docs/reports/e2e.md
