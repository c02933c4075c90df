#!/bin/bash
# e2e.sh [REGEXP PACKAGE...]: what `make e2e` runs, as root: every rig, with a report. With arguments it runs some of them, without a report.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/rigdeps.sh wine wine64 libarchive-tools cpio rpm desktop-file-utils wixl msitools faketime git rsync sshfs openssh-server xvfb xauth x11-utils socat netcat-openbsd conntrack
if [ $# -gt 1 ]; then
  run=$1; shift
  CAUSEWAY_RIGS=all exec go test -p 1 -count=1 -timeout 60m -v -run "$run" "$@"
fi
{
  ended=0
  CAUSEWAY_RIGS=all go test -p 1 -json -count=1 -timeout 60m ./internal/e2e ./internal/testnet ./internal/continuity ./internal/hostfaults \
  ./internal/crashmatrix ./internal/doctorrig ./internal/vpnmanager ./internal/agentclients ./internal/agentrig ./internal/agentwine ./internal/agenthost ./internal/webterm ./internal/packagetest ./internal/traytest ./internal/msitest ./platform_linux/rig || ended=$?
  # The long forms of unit tests: a thousand terminals, a GiB by SFTP.
  CAUSEWAY_RIGS=all go test -p 1 -json -count=1 -timeout 30m -run '^(TestThousandTerminals|TestLargeSFTP)$' ./agent ./agent/sshd || ended=$?
  exit $ended
} | go run ./internal/report -title "End-to-end report" -o docs/reports/e2e.md
