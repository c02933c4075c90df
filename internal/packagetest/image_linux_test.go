package packagetest

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/causewayhq/causeway/internal/testnet"
)

// inImage is the life of a package in a container or in an image that is being
// built: there is no systemd to talk to. It prints what is left at the end.
const inImage = `set -e
mount --make-rprivate /
root=$(mktemp -d); mount -t tmpfs tmpfs $root; mkdir $root/up $root/work $root/all $root/packages
mount -t overlay overlay -o lowerdir=$1,upperdir=$root/up,workdir=$root/work $root/all
mount -t proc proc $root/all/proc; mount -t tmpfs tmpfs $root/all/run; mount --bind /dev $root/all/dev
mkdir $root/all/packages; mount --bind $2 $root/all/packages
list() { find $root/up -not -path '*/var/lib/dpkg/*' -not -path '*/var/lib/apt/*' -not -path '*/var/cache/*' -not -path '*/var/log/*' -not -path '*/packages' -not -type d -printf '%P\n' | sort; find $root/all/run -mindepth 1 -printf 'run/%P\n' | grep causeway || :; }
inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive SUDO_UID=1000 chroot $root/all "$@" >$root/log 2>&1 || { cat $root/log; exit 1; }; }
list >$root/before
inside apt-get -qq -y install /packages/v` + first + `/$3_` + first + `_amd64.deb
echo "enabled: $(readlink $root/all/etc/systemd/system/multi-user.target.wants/$4)"
inside apt-get -qq -y install /packages/v` + next + `/$3_` + next + `_amd64.deb
inside apt-get -qq -y --allow-downgrades install /packages/v` + first + `/$3_` + first + `_amd64.deb
echo "# ours" >>$root/all/etc/causeway/$5
inside apt-get -qq -y remove $3
echo "kept: $(tail -1 $root/all/etc/causeway/$5)"
inside apt-get -qq -y install /packages/v` + first + `/$3_` + first + `_amd64.deb
echo "enabled again: $(readlink $root/all/etc/systemd/system/multi-user.target.wants/$4)"
mkdir -p $root/all/var/lib/$3; echo secret >$root/all/var/lib/$3/kept
inside apt-get -qq -y purge $3
list >$root/after
diff $root/before $root/after || :
`

// TestImage holds that packages install, upgrade and go without a systemd.
func TestImage(t *testing.T) {
	whole(t)
	must(t, testnet.BuildSystem(t.Context(), testnet.Plain, t.Output()))
	for _, c := range []struct {
		name, unit, config string
		left               []string
	}{
		{name: "causeway", unit: unit, config: "causeway.yaml"},
		// The user of the server stays.
		{name: "causeway-server", unit: "causeway-server.service", config: "server.env", left: []string{"etc/group", "etc/group-", "etc/gshadow", "etc/gshadow-", "etc/passwd", "etc/passwd-", "etc/shadow", "etc/shadow-", "etc/.pwd.lock"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := image(t.Context(), t, c.name, c.unit, c.config)
			link := "/lib/systemd/system/" + c.unit
			for _, want := range []string{"enabled: " + link, "kept: # ours", "enabled again: " + link} {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in:\n%s", want, got)
				}
			}
			for line := range strings.Lines(got) {
				change, found := strings.CutPrefix(strings.TrimSpace(line), "> ")
				if found && !slices.Contains(c.left, change) {
					t.Errorf("left after purge: %s", change)
				}
			}
		})
	}
}

func image(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", inImage, "sh", testnet.Base(), packages}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return string(output)
}
