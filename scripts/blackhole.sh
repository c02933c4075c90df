#!/bin/bash
# blackhole.sh DURATION: what `make blackhole` runs, as root: the control plane unreachable for so long, under the steady load.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/rigdeps.sh
CAUSEWAY_RIGS=all CAUSEWAY_BLACKHOLE=${1:-20m} go test -json -count=1 -timeout 0 -run '^TestBlackhole$' ./internal/continuity |
  go run ./internal/report -title "Blackhole report" -o docs/reports/blackhole.md
