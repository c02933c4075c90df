#!/bin/bash
# build.sh: the packages of Windows, on Linux; called by scripts/packages.sh with BINARIES (a directory to build in), PACKAGES (where results go), VERSION, NUMBER and
# SOURCE_DATE_EPOCH. ARCHES (amd64 arm64) and NAMES (causeway ...) make fewer. The driver's library is not ours to ship with the sources: WINTUN_DLL is the directory that wintun-0.14.1.zip
# unpacks to (wintun), or WINTUN_DLL_AMD64 and WINTUN_DLL_ARM64 are the files. Without it an installer says in its name that it lacks it.
# Nothing is signed: on the way to a release osslsigncode, or signtool on Windows, comes after this.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" != 0 ] || scripts/deps.sh wixl msitools faketime
for tool in wixl msibuild msiinfo faketime; do
  command -v $tool > /dev/null || { echo "$tool is missing, which makes the packages of Windows: apt-get install wixl msitools faketime" >&2; exit 1; }
done
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
made=$(dirname "$BINARIES") # licences, lists
export TZ=UTC
go build -o "$work/winpkg" ./internal/winpkg
go -C tools build -o "$work/winres" github.com/tc-hib/go-winres
[ -x "$made/licenses" ] || { made=$work; go build -o "$made/licenses" ./internal/licenses; go -C tools build -o "$made/sbom" ./sbom; }
version=$("$work/winpkg" number "$NUMBER")
when=$(date -ud "@$SOURCE_DATE_EPOCH" '+%Y-%m-%d %H:%M:%S')
platform() { case $1 in amd64) echo x64 ;; arm64) echo Arm64 ;; esac; }

# quiet COMMAND...: what a tool complains of it has left out, with success or not.
quiet() {
  "$@" > "$work/said" 2>&1 && [ ! -s "$work/said" ] || { cat "$work/said" >&2; echo "failed or incomplete: $1" >&2; exit 1; }
}

# stage PROGRAM ARCH DIR DESCRIPTION: a program with its icon, its version and its manifest.
stage() {
  sed "s|@ICON@|causeway.ico|; s|@NAME@|$1|; s|@DESCRIPTION@|$4|; s|@VERSION@|$version|g; s|@FULL@|$NUMBER|g" packaging/windows/winres.json.in > "$work/winres.json"
  cp packaging/icons/causeway-tray.ico "$work/causeway.ico"
  mkdir -p "$3"
  cp "$BINARIES/windows-$2/$1.exe" "$3/"
  "$work/winres" patch --in "$work/winres.json" --no-backup "$3/$1.exe"
}

# papers NAME ARCH DIR PROGRAM...: the licences, and a list of what is in it.
papers() {
  local name=$1 arch=$2 dir=$3 program programs=(); shift 3
  for program in "$@"; do programs+=("$BINARIES/windows-$arch/$program.exe"); done
  cp LICENSE "$dir/LICENSE.txt"
  "$made/licenses" -o "$dir/THIRD_PARTY_LICENSES.txt" -json "$work/licenses.json" "${programs[@]}"
  "$made/sbom" -name "$name" -version "$NUMBER" -licenses "$work/licenses.json" "${programs[@]}" > "$PACKAGES/${name}_${NUMBER}_windows_$arch.cdx.json"
}

# installer NAME ARCH DIR OUT TITLE [DEFINITION...]: wixl makes what it can; what it cannot is laid over its tables.
installer() {
  local name=$1 arch=$2 dir=$3 out=$4 title=$5 table file definition definitions=(); shift 5
  for definition in "$@"; do definitions+=(-D "$definition"); done
  cp packaging/icons/causeway-tray.ico "$dir/causeway.ico"
  cp "packaging/windows/$name.wxs" "$dir/"
  find "$dir" -type f -exec chmod 644 {} + -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
  # wixl knows x64 only; the other is a word in the summary.
  (cd "$dir" && quiet faketime -f "$when" wixl -a x64 -D Version="$version" -D Full="$NUMBER" -D ProductCode="$(
    "$work/winpkg" uuid "$name $NUMBER $arch" | tr -d '{}')" "${definitions[@]}" -o "$work/$name.msi" "$name.wxs")
  rm -rf "$work/tables"; mkdir "$work/tables"
  for file in packaging/windows/overlay/"$name"/*.idt; do
    table=$(basename "$file" .idt)
    sed "s/@VERSION@/$version/g" "$file" > "$work/rows"
    { [ "$table" = Upgrade ] || msiinfo export "$work/$name.msi" "$table" 2> /dev/null || true; } | "$work/winpkg" overlay "$work/rows" > "$work/tables/$table.idt"
  done
  # Sums are for files without a version.
  msiinfo export "$work/$name.msi" MsiFileHash | sed -n 1,3p > "$work/tables/MsiFileHash.idt"
  msiinfo export "$work/$name.msi" File | "$work/winpkg" versions "$dir" > "$work/tables/File.idt"
  quiet faketime -f "$when" msibuild "$work/$name.msi" -i "$work"/tables/*.idt
  quiet faketime -f "$when" msibuild "$work/$name.msi" -s "$title" Causeway "$(platform "$arch");1033" "$("$work/winpkg" uuid "package of $name $NUMBER $arch")"
  mv "$work/$name.msi" "$PACKAGES/$out.msi"
}

# wintun ARCH DIR: the driver's library, if there is one, is the one that the daemon will load, or there is no package.
wintun() {
  local variable=WINTUN_DLL_${1^^} library
  library=${!variable:-${WINTUN_DLL:+$WINTUN_DLL/bin/$1/wintun.dll}}
  [ -n "$library" ] || return 1
  "$work/winpkg" wintun "$1" "$library" || exit 1
  cp "$library" "$2/wintun.dll"
}

# package NAME ARCH PLATFORM
package() {
  local name=$1 arch=$2 platform=$3 dir=$work/$2/$1-$NUMBER
  case $name in
    causeway)
      stage causewayd "$arch" "$dir" "Causeway daemon"; stage causeway "$arch" "$dir" Causeway
      papers causeway "$arch" "$dir" causewayd causeway
      if wintun "$arch" "$dir"; then
        installer causeway "$arch" "$dir" "causeway-$NUMBER-$platform" "Causeway $NUMBER" Wintun=yes
      else
        echo "causeway-$NUMBER-$platform-without-wintun.msi: without the driver's library it cannot make a tunnel; WINTUN_DLL says where that is" >&2
        installer causeway "$arch" "$dir" "causeway-$NUMBER-$platform-without-wintun" "Causeway $NUMBER, without wintun.dll" Wintun=no
      fi ;;
    causeway-tray)
      stage causeway-tray "$arch" "$dir" "Causeway tray app"
      papers causeway-tray "$arch" "$dir" causeway-tray
      installer causeway-tray "$arch" "$dir" "causeway-tray-$NUMBER-$platform" "Causeway tray app $NUMBER" ;;
    *) # a single program
      stage "$name" "$arch" "$dir" "Causeway ${name#causeway-}"
      papers "$name" "$arch" "$dir" "$name"
      "$work/winpkg" zip "$PACKAGES/${name}_${NUMBER}_windows_$arch.zip" "$dir" ;;
  esac
}

for arch in ${ARCHES:-amd64 arm64}; do
  [ -d "$BINARIES/windows-$arch" ] || scripts/packages-build.sh windows "$arch" "$BINARIES/windows-$arch"
  platform=$(platform "$arch")
  for name in ${NAMES:-causeway causeway-tray causeway-agent causeway-server}; do package "$name" "$arch" "${platform,,}"; done
done
