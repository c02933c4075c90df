#!/bin/bash
# packages.sh [DIR]: what `make packages` runs: every package, for amd64 and arm64, with checksums, licences and lists of what is in it. VERSION is that of
# git unless set; FORMATS (deb rpm apk), ARCHES (amd64 arm64) and NAMES (causeway ...) make fewer. Needs Go; the packagers of other systems
# (packaging/windows, packaging/darwin) say what they need.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-dist}")
export VERSION=${VERSION:-$(git describe --tags --always --dirty)}
NUMBER=$(scripts/packages-number.sh "$VERSION")
# Nothing of a package tells when or where it was built, only of which commit.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} TZ=UTC LC_ALL=C GOFLAGS= NUMBER
umask 022
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export BINARIES=$work/bin PACKAGES=$out
rm -rf "$out"; mkdir -p "$out"
step() { printf '%4d s  %s\n' $SECONDS "$*"; }

step "causeway $VERSION as $NUMBER: tools"
go -C tools build -o "$work/nfpm" github.com/goreleaser/nfpm/v2/cmd/nfpm
go -C tools build -o "$work/sbom" ./sbom
go build -o "$work/licenses" ./internal/licenses

step "documentation"
CGO_ENABLED=0 go build -trimpath -tags docs -ldflags "-X github.com/causewayhq/causeway/internal/version.Version=$VERSION" -o "$work/writers/" \
  ./cmd/causewayd ./cmd/causeway ./cmd/causeway-agent ./cmd/causeway-server ./cmd/causeway-tray
for writer in "$work"/writers/*; do env -i "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" HOME=/root PATH="$PATH" "$writer" "$work/docs/$(basename "$writer")"; done
find "$work/docs" -path '*/man/*' -type f -exec gzip -9n {} +

# package NAME PROGRAM...: one package in each format.
package() {
  local name=$1 arch format program number; shift
  [[ " ${NAMES:-$name} " = *" $name "* ]] || return 0
  for arch in ${ARCHES:-amd64 arm64}; do
    local stage=$work/stage/$name-$arch bin=$BINARIES/linux-$arch programs=()
    mkdir -p "$stage"/{units,man/man1,man/man5,man/man8,completions/{bash,zsh,fish}}
    for program in "$@"; do
      programs+=("$bin/$program")
      [ ! -d "$work/docs/$program" ] || cp -r "$work/docs/$program/." "$stage/"
    done
    cp packaging/linux/causewayd*.service packaging/linux/causeway-*online* "$stage/units/"
    sed "s/\${PACKAGE}/$name/" packaging/linux/lintian-overrides > "$stage/lintian-overrides"
    printf '%s (%s) unstable; urgency=medium\n\n  * See https://github.com/causewayhq/causeway/blob/main/CHANGELOG.md\n\n -- %s  %s\n' "$name" "$NUMBER" \
      "$(sed -n 's/^maintainer: //p' "packaging/linux/nfpm-$name.yaml")" "$(date -uR -d "@$SOURCE_DATE_EPOCH")" | gzip -9n > "$stage/changelog.gz"
    "$work/licenses" -o "$stage/THIRD_PARTY_LICENSES" -json "$stage/licenses.json" "${programs[@]}"
    "$work/sbom" -name "$name" -version "$NUMBER" -licenses "$stage/licenses.json" "${programs[@]}" > "$out/${name}_${NUMBER}_$arch.cdx.json"
    gzip -9n "$stage/THIRD_PARTY_LICENSES"
    for format in ${FORMATS:-deb rpm apk}; do
      number=$NUMBER; [ "$format" != apk ] || number=$(scripts/packages-number.sh "$VERSION" apk)
      STAGE=$stage BIN=$bin ARCH=$arch NUMBER=$number "$work/nfpm" pkg -f "packaging/linux/nfpm-$name.yaml" -p "$format" -t "$out/" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
      step "$name $arch $format"
    done
  done
}

# nfpm writes into an apk when its scripts were last changed here.
touch -d "@$SOURCE_DATE_EPOCH" packaging/linux/apk/*

for arch in ${ARCHES:-amd64 arm64}; do
  step "programs for linux/$arch"
  scripts/packages-build.sh linux "$arch" "$BINARIES/linux-$arch"
done
package causeway causewayd causeway
package causeway-agent causeway-agent
package causeway-server causeway-server
[ ! -d cmd/causeway-tray ] || package causeway-tray causeway-tray

# Each has BINARIES (a directory to build in), PACKAGES (where results go), VERSION, NUMBER and SOURCE_DATE_EPOCH.
for other in packaging/windows/build.sh packaging/darwin/build.sh; do
  [ ! -x $other ] || [ -n "${FORMATS:-}${NAMES:-}" ] || { step "$other"; $other; }
done

(cd "$out" && sha256sum -- * > "$work/sums" && mv "$work/sums" SHA256SUMS && chmod 644 SHA256SUMS)
step "done: $(ls "$out" | wc -l) files in $out"
