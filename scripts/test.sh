#!/bin/bash
# test.sh: what `make test` runs, as root: vet, all unit tests with -race, one systemd host, a sample of the long rigs.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/rigdeps.sh gcc libc6-dev
go vet ./...
echo "unit tests, with the race detector"
CGO_ENABLED=1 go test -race -json -timeout 15m ./... | go run ./internal/report -quiet -title "Unit tests"
echo "a sample of the long rigs (make e2e runs all)"
CAUSEWAY_RIGS=sample go test -p 1 -json -count=1 -timeout 15m ./internal/e2e ./internal/testnet ./internal/continuity | go run ./internal/report -title "Sample of the rigs"
