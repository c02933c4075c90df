#!/bin/bash
# packages-build.sh SYSTEM ARCH DIR [FLAG...]: the programs of a release, for a system and an architecture. The same bytes from any directory.
set -euo pipefail
cd "$(dirname "$0")/.."
system=$1 arch=$2 dir=$3; shift 3
vcs=false; [ ! -e .git ] || vcs=true
ldflags="-s -w -X github.com/causewayhq/causeway/internal/version.Version=$VERSION"
tags=$(grep '^[a-z]' packaging/tags.txt | paste -sd,)
programs=(./cmd/causewayd ./cmd/causeway ./cmd/causeway-agent ./cmd/causeway-server)
mkdir -p "$dir"
export CGO_ENABLED=0 GOOS=$system GOARCH=$arch GOFLAGS=
go build -trimpath -buildvcs=$vcs -tags "$tags" -ldflags "$ldflags" "$@" -o "$dir/" "${programs[@]}"
[ ! -d cmd/causeway-tray ] || {
  # On Windows a window opens beside a program that is not built for the desktop.
  [ "$system" != windows ] || ldflags+=" -H=windowsgui"
  go build -trimpath -buildvcs=$vcs -tags "$tags" -ldflags "$ldflags" "$@" -o "$dir/" ./cmd/causeway-tray
}
