#!/bin/bash
# build.sh: the packages of macOS, on any system; called by scripts/packages.sh with BINARIES (a directory to build in), PACKAGES (where results go), VERSION,
# NUMBER and SOURCE_DATE_EPOCH. Not signed: on a Mac, codesign, productsign and notarytool come after this.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
made=$(dirname "$BINARIES") # licences, lists and documentation
number=${NUMBER%%[~+]*}     # Installer compares numbers only
go build -o "$work/macpkg" ./internal/macpkg
for arch in amd64 arm64; do
  [ -d "$BINARIES/darwin-$arch" ] || scripts/packages-build.sh darwin "$arch" "$BINARIES/darwin-$arch"
done
# fat PROGRAM DIR: one program for both processors.
fat() { mkdir -p "$2"; "$work/macpkg" fat -o "$2/$1" "$BINARIES/darwin-amd64/$1" "$BINARIES/darwin-arm64/$1"; }
# papers DIR NAME PROGRAM...: what is in it and under which licences.
papers() {
  local dir=$1 name=$2 programs=() program; shift 2
  for program in "$@"; do programs+=("$BINARIES/darwin-amd64/$program" "$BINARIES/darwin-arm64/$program"); done
  mkdir -p "$dir"
  cp LICENSE "$dir/"
  "$made/licenses" -o "$dir/THIRD_PARTY_LICENSES" -json "$work/licenses.json" "${programs[@]}"
  "$made/sbom" -name "$name" -version "$NUMBER" -licenses "$work/licenses.json" "${programs[@]}" > "$PACKAGES/${name}_${NUMBER}_darwin.cdx.json"
}
# pkg NAME ID TITLE
pkg() { "$work/macpkg" pkg -id "$2" -version "$number" -title "$3" -root "$work/$1" -scripts "packaging/darwin/pkg/$1" -o "$PACKAGES/$1-$NUMBER.pkg"; }

# Not in /usr/local: Homebrew makes that the user's, and this runs as root.
root=$work/causeway home=$work/causeway/Library/Causeway
fat causewayd "$home/bin"; fat causeway "$home/bin"
papers "$home/share/doc" causeway causewayd causeway
for program in causewayd causeway; do
  [ ! -d "$made/docs/$program" ] || cp -R "$made/docs/$program/man" "$made/docs/$program/completions" "$home/share/"
done
install -m 755 packaging/darwin/uninstall.sh "$home/bin/causeway-uninstall"
mkdir -p "$root/etc/paths.d" "$root/etc/manpaths.d"
echo /Library/Causeway/bin > "$root/etc/paths.d/causeway"
echo /Library/Causeway/share/man > "$root/etc/manpaths.d/causeway"
pkg causeway com.causewayhq.causeway Causeway

app=$work/causeway-tray/Applications/Causeway.app/Contents
fat causeway-tray "$app/MacOS"
mkdir -p "$app/Resources" "$work/causeway-tray/Library/LaunchAgents"
sed "s/@VERSION@/$number/" packaging/darwin/Info.plist > "$app/Info.plist"
papers "$app/Resources" causeway-tray causeway-tray
cp packaging/darwin/com.causewayhq.tray.plist "$work/causeway-tray/Library/LaunchAgents/"
pkg causeway-tray com.causewayhq.tray "Causeway menu bar app"

# The others are single programs.
for name in causeway-agent causeway-server; do
  dir=$work/$name-$NUMBER
  fat "$name" "$dir"; papers "$dir" "$name" "$name"
  tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$work" -cf - "$name-$NUMBER" |
    gzip -9n > "$PACKAGES/${name}_${NUMBER}_darwin.tar.gz"
done
