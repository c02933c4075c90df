#!/bin/bash
# packages-number.sh VERSION [apk]: a version of git (v1.2.3, v1.2.3-rc.1, v1.2.3-4-g0123abc, 0123abc) as packages sort it.
# ~ sorts before the end, + after it.
set -euo pipefail
version=${1#v} kind=${2:-} dirty=
[[ $version != *-dirty ]] || { version=${version%-dirty} dirty=.dirty; }
if [[ $version =~ ^([0-9]+\.[0-9]+\.[0-9]+)(-([a-z]+\.?[0-9]*))?(-([0-9]+)-g([0-9a-f]+))?$ ]]; then
  number=${BASH_REMATCH[1]} pre=${BASH_REMATCH[3]} later=${BASH_REMATCH[5]} commit=${BASH_REMATCH[6]}
else
  # Nothing has been released yet: before all that will be.
  number=0.0.0 pre= later= commit=
  count=$(git rev-list --count HEAD 2>/dev/null || echo 0)
fi
if [ "$kind" = apk ]; then
  # Alpine knows a few words only, and no commit.
  [ -z "$pre" ] || number+=_${pre//./}
  [ -z "${later:-${count:-}}" ] || number+=_git${later:-$count}
  echo "$number"; exit
fi
if [ -n "${count:-}" ]; then
  [[ $version =~ ^[0-9a-z.]+$ ]] || { echo "version $version: neither a release nor a commit" >&2; exit 1; }
  echo "$number~git$count.$version$dirty"; exit
fi
[ -z "$pre" ] || number+=~$pre
[ -z "$later" ] || number+=+$later.$commit
[ -z "$dirty" ] || { [ -z "$later" ] && number+=+dirty || number+=.dirty; }
echo "$number"
