#!/bin/bash
# xterm.sh: fetches the terminal emulator of the web terminal's page, as it is
# vendored in server/terminal/assets. To update: change the versions and the
# integrity sums (npm view PACKAGE@VERSION dist.integrity), run this, run the
# tests of server/terminal and internal/webterm, and read the licence again.
set -euo pipefail
assets=$(realpath "$(dirname "$0")/../server/terminal/assets")
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
fetch() { # PACKAGE VERSION INTEGRITY
  local archive; archive=$(cd "$work" && npm pack --silent "$1@$2")
  local sum; sum="sha512-$(openssl dgst -sha512 -binary "$work/$archive" | base64 -w0)"
  [ "$sum" = "$3" ] || { echo "$1@$2: its sum is $sum, not $3" >&2; exit 1; }
  mkdir "$work/${1##*/}" && tar xzf "$work/$archive" -C "$work/${1##*/}" --strip-components=1
}
fetch @xterm/xterm 6.0.0 sha512-TQwDdQGtwwDt+2cgKDLn0IRaSxYu1tSUjgKarSDkUM0ZNiSRXFpjxEsvc/Zgc5kq5omJ+V0a8/kIM2WD3sMOYg==
fetch @xterm/addon-fit 0.11.0 sha512-jYcgT6xtVYhnhgxh3QgYDnnNMYTcf8ElbxxFzX0IZo+vabQqSPAjC3c1wJrKB5E19VwQei89QCiZZP86DCPF7g==
cp "$work/xterm/lib/xterm.mjs" "$work/xterm/css/xterm.css" "$work/addon-fit/lib/addon-fit.mjs" "$assets/"
cp "$work/xterm/LICENSE" "$assets/xterm.LICENSE"; cp "$work/addon-fit/LICENSE" "$assets/addon-fit.LICENSE"
(cd "$assets" && sha256sum xterm.mjs xterm.css addon-fit.mjs xterm.LICENSE addon-fit.LICENSE > SHA256SUMS)
