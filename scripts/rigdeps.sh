#!/bin/bash
# rigdeps.sh: what the rigs run beside our own programs.
exec "$(dirname "$0")/deps.sh" "$@" iproute2 iputils-ping nftables util-linux procps openssh-client bind9-dnsutils nginx-light dbus mmdebstrap zstd python3 vim chromium
