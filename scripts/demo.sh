#!/bin/bash
# demo.sh: what `make demo` runs, as root.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/deps.sh iproute2 nftables util-linux procps openssh-client
exec go run ./internal/demo
