#!/bin/bash
# bench.sh [FLAGS of internal/bench]: what `make bench` runs, as root. `scripts/bench.sh -quick -o ''` tries something.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/deps.sh iproute2 nftables util-linux procps iperf3 openssh-client
mkdir -p docs/reports
exec go run ./internal/bench "$@"
