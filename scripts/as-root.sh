#!/bin/bash
# as-root.sh PROGRAM: runs it as root, asking for that when necessary.
set -euo pipefail
if [ "$(id -u)" = 0 ]; then exec "$@"; fi
if ! command -v sudo >/dev/null; then echo "This needs root, for network namespaces, and there is no sudo: run it as root." >&2; exit 1; fi
echo "This needs root, for network namespaces; sudo may ask for your password."
exec sudo --preserve-env=HOME,PATH,GOFLAGS,GOPROXY,GOCACHE,GOMODCACHE,CI "$@"
