#!/bin/sh
# causeway-uninstall: takes Causeway off this Mac. With --purge its settings and credentials go too.
set -eu
purge=
case ${1:-} in
  '') ;;
  --purge) purge=1 ;;
  *) echo "usage: sudo causeway-uninstall [--purge]" >&2; exit 2 ;;
esac
[ "$(id -u)" -eq 0 ] || { echo "causeway-uninstall: it needs root; run: sudo causeway-uninstall ${1:-}" >&2; exit 5; }
root=${CAUSEWAY_ROOT:-}
launchctl=${LAUNCHCTL:-/bin/launchctl}
pkgutil=${PKGUTIL:-/usr/sbin/pkgutil}

# Routes, names and the job go first, while the program that knows them is there.
if [ -x "$root/Library/Causeway/bin/causewayd" ]; then
  "$root/Library/Causeway/bin/causewayd" uninstall
fi
user=$(stat -f %u /dev/console 2>/dev/null || echo 0)
[ "$user" -eq 0 ] || "$launchctl" bootout "gui/$user/com.causewayhq.tray" 2>/dev/null || true
rm -f "$root/Library/LaunchAgents/com.causewayhq.tray.plist" "$root/etc/paths.d/causeway" "$root/etc/manpaths.d/causeway"
rm -rf "$root/Applications/Causeway.app" "$root/Library/Causeway" "$root/Library/Logs/Causeway"
[ -z "$purge" ] || rm -rf "$root/Library/Application Support/Causeway"
for id in com.causewayhq.causeway com.causewayhq.tray; do
  "$pkgutil" --forget "$id" >/dev/null 2>&1 || true # not installed as a package
done
echo "Causeway is removed${purge:+, with its settings}"
