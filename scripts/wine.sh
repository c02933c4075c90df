#!/bin/bash
# wine.sh [GO TEST FLAGS] PACKAGE...: runs packages' Windows tests under Wine. Without arguments: all packages that have some.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/deps.sh wine wine64 util-linux >&2
[ $# -gt 0 ] || set -- ./nrpt ./hosts ./internal/wine ./localapi ./platform_windows ./tun ./service/system ./agent/unit
exec go run ./internal/wine "$@"
