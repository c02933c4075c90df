#!/bin/bash
# test.sh: what `make test` runs, as root: vet, all unit tests with -race, the Windows tests under Wine, systemd hosts, a sample of the long rigs.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/rigdeps.sh gcc libc6-dev wine wine64 libarchive-tools cpio desktop-file-utils wixl msitools faketime git rsync sshfs openssh-server xvfb xauth x11-utils socat netcat-openbsd conntrack
# The test hosts take minutes the first time: they are built while the unit tests run, and waited for.
go run ./internal/testnet/images plain resolved & images=$!
trap 'kill $images 2>/dev/null || true' EXIT
go vet ./...
echo "unit tests, with the race detector"
scripts/unit.sh ./...
echo "the Windows packages' own tests, under Wine"
scripts/wine.sh -json ./nrpt ./hosts ./localapi ./tun ./platform_windows ./service/system ./agent/httpapi ./internal/wine | go run ./internal/report -quiet -title "Windows tests under Wine"
wait $images
echo "a sample of the long rigs (make e2e runs all)"
CAUSEWAY_RIGS=sample go test -p 1 -json -count=1 -timeout 15m ./internal/e2e ./internal/testnet ./internal/continuity ./internal/hostfaults \
  ./internal/crashmatrix ./internal/doctorrig ./internal/vpnmanager ./internal/agentclients ./internal/agenthost ./internal/agentrig ./internal/agentwine ./internal/webterm ./internal/msitest | go run ./internal/report -title "Sample of the rigs"
