#!/bin/bash
# lab.sh - real systemd "hosts" without qemu, machined or a systemd host.
# usage: lab.sh layer  NAME LOWER[:LOWER..] -- CMD...   build a flavour layer: run CMD in a chroot over LOWERs
#        lab.sh boot   NAME ROOTFS[:LOWER..] [NETNS] [KEEP]   boot systemd in the network namespace of that path, else in netns NAME (created when missing);
#                                                      what it writes goes to memory, or to the directory KEEP and is there again at the next boot
#        lab.sh exec   NAME CMD...                      run CMD inside (all namespaces)
#        lab.sh wait   NAME [SECONDS]                   wait until is-system-running answers running|degraded
#        lab.sh stop   NAME [SECONDS]                   clean poweroff (SIGRTMIN+4), SIGKILL after SECONDS
#        lab.sh halt   NAME [SECONDS]                   the same, but it can be booted again
#        lab.sh leak                                    list anything left behind
set -euo pipefail
LAB=${LAB:-/var/tmp/causeway-testhosts}; RUN=$LAB/run; mkdir -p "$RUN"
CG2=${CG2:-}
find_cg2(){ CG2=$(awk '$3=="cgroup2"{print $2; exit}' /proc/mounts); 
  if [ -z "$CG2" ]; then mkdir -p "$RUN/cg2"; mount -t cgroup2 cgroup2 "$RUN/cg2"; CG2=$RUN/cg2; fi; }

cmd_layer(){ local name=$1 lower=$2; shift 2; [ "$1" = -- ] && shift
  local d=$LAB/layers/$name; mkdir -p "$d"/{up,work}
  [ ! -e /run/netns/nonexistent ]
  unshare --mount --propagation private bash -euc '
    d=$1; lower=$2; shift 2
    m=$d/mnt; mkdir -p $m; mount -t overlay overlay -o "lowerdir=$lower,upperdir=$d/up,workdir=$d/work" $m
    mount -t proc proc $m/proc; mount --rbind /dev $m/dev; mount -t tmpfs tmpfs $m/run
    cp -f --remove-destination /etc/resolv.conf $m/etc/resolv.conf
    printf "#!/bin/sh\nexit 101\n" > $m/usr/sbin/policy-rc.d; chmod 755 $m/usr/sbin/policy-rc.d
    rc=0; env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy=$http_proxy} chroot $m "$@" || rc=$?
    rm -f $m/usr/sbin/policy-rc.d; rm -rf $m/var/lib/apt/lists/* $m/var/cache/apt/*.bin
    [ -L $m/etc/resolv.conf ] || rm -f $m/etc/resolv.conf
    exit $rc' layer "$d" "$lower" "$@"
  rm -rf "$d/work"; }

# ---- stage 2: already PID 1 of the new pid namespace, private mount namespace ----
cmd_stage2(){ local name=$1 lower=$2 keep=$3 d=$RUN/$1; local m=$d/mnt rw=$d/rw
  mount --make-rprivate /
  if [ -n "$keep" ]; then rw=$keep; else mount -t tmpfs -o mode=755,size=2G lab-$name "$rw"; fi
  mkdir -p "$rw/up" "$rw/work"
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$rw/up,workdir=$rw/work" "$m"
  mount -t proc -o nosuid,nodev,noexec proc "$m/proc"
  mount -t sysfs -o nosuid,nodev,noexec sysfs "$m/sys"
  mount -o remount,bind,ro "$m/sys"            # read-only /sys = no udevd, like nspawn; NetworkManager copes
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$m/sys/fs/cgroup"
  mount -t tmpfs -o nosuid,mode=755,size=4M tmpfs "$m/dev"
  local n; for n in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do set -- $n; mknod -m 666 "$m/dev/$1" c $2 $3; done
  mkdir "$m/dev"/{pts,shm,net,mqueue}; mknod -m 666 "$m/dev/net/tun" c 10 200
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$m/dev/pts"; ln -s pts/ptmx "$m/dev/ptmx"
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$m/dev/shm"
  ln -s /proc/self/fd "$m/dev/fd"; ln -s /proc/self/fd/0 "$m/dev/stdin"; ln -s /proc/self/fd/1 "$m/dev/stdout"; ln -s /proc/self/fd/2 "$m/dev/stderr"
  mknod -m 600 "$m/dev/console" c 1 3          # boot chatter -> null; the journal has it all
  mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs "$m/run"
  [ -d "$d/share" ] && { mkdir -p "$m/run/host"; mount --bind "$d/share" "$m/run/host"; }
  # no writable /proc/sys outside the netns part, no kernel log, no sysrq (same list as nspawn)
  mount --bind "$m/proc/sys" "$m/proc/sys"; mount -o remount,bind,ro "$m/proc/sys"
  mount --bind "$m/proc/sys/net" "$m/proc/sys/net" 2>/dev/null || true; mount -o remount,bind,rw "$m/proc/sys/net" 2>/dev/null || true
  for n in sysrq-trigger kmsg; do if [ -e "$m/proc/$n" ]; then mount --bind "$m/dev/null" "$m/proc/$n"; fi; done
  ln -sf /dev/null "$m/etc/systemd/system/console-getty.service"
  # Daily jobs write to the host at midnight (/var/backups and more), whatever is being compared then.
  ln -sf /dev/null "$m/etc/systemd/system/timers.target"
  [ ! -d "$d/seed" ] || cp -r --preserve=mode "$d/seed/." "$m/"
  # logind believes it can suspend: systemd-sleep writes "mem" into this file and returns at once
  if [ -e "$m/sys/power/state" ]; then echo "freeze mem" > "$m/run/lab-power-state"; mount --bind "$m/run/lab-power-state" "$m/sys/power/state"; fi
  echo "$name" > "$m/etc/hostname"; hostname "$name"
  cd "$m"; mkdir -p .old; pivot_root . .old; 
  exec /usr/bin/env -i container=lab container_uuid=$(cat /proc/sys/kernel/random/uuid) PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
     /bin/sh -c 'cd /; umount -l /.old; rmdir /.old; mount --make-rshared /; exec /lib/systemd/systemd --system --show-status=no' </dev/null >/dev/null 2>&1; }

cmd_boot(){ local name=$1 lower=$2 net=${3:-} keep=${4:-} d=$RUN/$1; find_cg2
  [ -e "$d/pid" ] && kill -0 "$(cat "$d/pid")" 2>/dev/null && { echo "$name is up" >&2; return 1; }
  mkdir -p "$d"/{rw,mnt,share}
  if [ -z "$net" ]; then
    net=/run/netns/$name; [ -e "$net" ] || { ip netns add "$name"; touch "$d/own-netns"; }
    ip -n "$name" link set lo up
  fi
  mkdir -p "$CG2/lab-$name"; echo "$CG2/lab-$name" > "$d/cg"
  setsid bash -c 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"' _ "$CG2/lab-$name" \
     nsenter --net="$net" unshare --mount --uts --ipc --pid --cgroup --fork --kill-child=SIGKILL \
     bash "$(readlink -f "$0")" stage2 "$name" "$lower" "$keep" </dev/null >"$d/boot.log" 2>&1 &
  local up=$!; echo $up > "$d/unshare.pid"
  local i c; for i in $(seq 200); do c=$(cat /proc/$up/task/$up/children 2>/dev/null || true); c=${c%% *}
     [ -n "$c" ] && [ "$(cat /proc/$c/comm 2>/dev/null)" = systemd ] && { echo $c > "$d/pid"; return 0; }
     kill -0 $up 2>/dev/null || break; sleep 0.05; done
  echo "boot of $name failed:" >&2; cat "$d/boot.log" >&2; return 1; }

cmd_exec(){ local name=$1 p; shift; p=$(cat "$RUN/$name/pid")
  # cgroup first: a process that joins only the namespaces would sit outside the host's tree
  local cg; cg=$(cat "$RUN/$name/cg"); mkdir -p "$cg/lab-exec"
  exec bash -c 'echo $$ > "$1/lab-exec/cgroup.procs"; shift; exec "$@"' _ "$cg" \
    nsenter -t "$p" -m -u -i -n -p -C --root --wd env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8 "$@"; }

cmd_wait(){ local name=$1 t=${2:-60} s=$SECONDS st=; [ -e "$RUN/$name/pid" ] || { echo "not up"; return 1; }; while [ $((SECONDS-s)) -lt $t ]; do
    st=$("$0" exec "$name" systemctl is-system-running 2>/dev/null || true)
    case $st in running|degraded) echo "$st"; return 0;; esac; sleep 0.1; done; echo "timeout: $st"; return 1; }

cmd_stop(){ cmd_halt "$@"; rm -rf "$RUN/$1"; }

cmd_halt(){ local name=$1 t=${2:-15} d=$RUN/$1 p u i; 
  if [ -e "$d/pid" ]; then p=$(cat "$d/pid"); u=$(cat "$d/unshare.pid")
    kill -s RTMIN+4 "$p" 2>/dev/null || true
    for i in $(seq $((t*20))); do kill -0 "$p" 2>/dev/null || break; sleep 0.05; done
    if kill -0 "$p" 2>/dev/null; then echo "$name: forced" >&2; kill -KILL "$p"; fi
    for i in $(seq 100); do kill -0 "$u" 2>/dev/null || break; sleep 0.05; done
  fi
  if [ -e "$d/own-netns" ]; then ip netns del "$name" 2>/dev/null || true; fi
  if [ -e "$d/cg" ]; then local cg; cg=$(cat "$d/cg"); for i in $(seq 40); do
    find "$cg" -depth -type d -exec rmdir {} + 2>/dev/null || true; [ -d "$cg" ] || break; sleep 0.05; done; fi
  rm -f "$d/pid"; }

cmd_leak(){ find_cg2; echo "cgroups: $(ls -d $CG2/lab-* 2>/dev/null | wc -l) mounts: $(grep -c "$LAB" /proc/self/mounts || true) netns: $(ip netns list | grep -c '^lab' || true) dirs: $(ls "$RUN" | wc -l)"; }
c=$1; shift; cmd_$c "$@"
