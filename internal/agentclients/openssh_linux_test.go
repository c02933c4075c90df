package agentclients

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// TestOpenSSH: each way in which people use OpenSSH's own programs.
func TestOpenSSH(t *testing.T) {
	needRig(t, true)
	w := newWorld(t, plan{agentArguments: []string{"--log-level", "debug"}})
	w.startHost(t)
	echoServers(t, w)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"StrictHostKeys", strictHostKeys}, {"Agent", forwardedAgent}, {"X11", forwardedDisplay}, {"Forwards", forwards},
		{"StandardStreams", standardStreams}, {"Jump", jump}, {"Terminal", terminal}, {"ControlMaster", controlMaster},
		{"Scp", scp}, {"Sftp", sftpBatch}, {"Rsync", rsync}, {"Git", gitToWorkspace}, {"Sshfs", sshfs},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, w) })
	}
}

// strictHostKeys: the first connection already knows the agent's key, which is
// the one that the agent has; a wrong one is refused.
func strictHostKeys(t *testing.T, w *world) {
	if got := w.session(t, "echo in"); got != "in\n" {
		t.Fatalf("got %q", got)
	}
	kept := w.client(t, "ssh-keygen -F "+rig.Name+" -f /root/.config/causeway/known_hosts | tail -1")
	if _, key, _ := strings.Cut(strings.TrimSpace(kept), " "); !strings.HasPrefix(key, "ssh-ed25519 ") {
		t.Errorf("kept is %q", kept)
	}
	w.client(t, "ssh-keygen -q -t ed25519 -N '' -f /tmp/wrong; echo "+rig.Name+" $(cut -d' ' -f1,2 /tmp/wrong.pub) > /tmp/wrong-hosts")
	got := w.ssh(t, "-o", "UserKnownHostsFile=/tmp/wrong-hosts", "-o", "KnownHostsCommand=none", rig.Name, "true")
	if got.code != 255 || !strings.Contains(got.stderr, "HOST IDENTIFICATION HAS CHANGED") {
		t.Errorf("a wrong key: exit code %d, %q", got.code, got.stderr)
	}
}

// forwardedAgent: -A brings the client's keys, and only -A.
func forwardedAgent(t *testing.T, w *world) {
	w.client(t, "ssh-keygen -q -t ed25519 -N '' -C brought -f /tmp/brought")
	got := w.client(t, "ssh-agent bash -ec 'ssh-add -q /tmp/brought; ssh -A -o BatchMode=yes "+rig.Name+" ssh-add -L; ssh -o BatchMode=yes "+rig.Name+" echo [\\$SSH_AUTH_SOCK]'")
	if want := w.client(t, "cat /tmp/brought.pub") + "[]\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// A signature comes from the client: ssh from the workspace to another host.
	w.client(t, "cp /tmp/brought.pub /tmp/clients/")
	must(t, w.Net.Proxy.Write(t.Context(), "/tmp/authorized", w.client(t, "cat /tmp/brought.pub")))
	got = w.client(t, "ssh-agent bash -ec 'ssh-add -q /tmp/brought; ssh -A -o BatchMode=yes "+rig.Name+" ssh -o StrictHostKeyChecking=accept-new root@"+testnet.ProxyAddr+" hostname 2>/dev/null'")
	if !strings.HasSuffix(got, "proxy\n") {
		t.Errorf("through the workspace to another host: %q", got)
	}
}

// forwardedDisplay: a real X client of the workspace on a real X server of the
// desktop.
func forwardedDisplay(t *testing.T, w *world) {
	w.client(t, "touch /tmp/authority; xauth -f /tmp/authority add :7 . $(printf %032x 77)")
	w.background(t, w.On(within(t, patience), "Xvfb", ":7", "-nolisten", "tcp", "-auth", "/tmp/authority", "-screen", "0", "321x123x24"))
	eventually(t, "the X server", func() bool {
		_, err := w.onClient(t.Context(), "DISPLAY=:7 XAUTHORITY=/tmp/authority xdpyinfo")
		return err == nil
	})
	for _, flag := range []string{"-X", "-Y"} {
		got := w.client(t, "DISPLAY=:7 XAUTHORITY=/tmp/authority ssh -o BatchMode=yes "+flag+" "+rig.Name+" 'echo $DISPLAY; xdpyinfo | grep dimensions'")
		if !strings.HasPrefix(got, "localhost:1") || !strings.Contains(got, "321x123 pixels") {
			t.Errorf("%s: %q", flag, got)
		}
	}
}

// echoServers answer in the workspace and on the desktop with what they get.
func echoServers(t *testing.T, w *world) {
	ctx := t.Context()
	for _, address := range []string{"TCP-LISTEN:9100,bind=127.0.0.1,reuseaddr,fork", "UNIX-LISTEN:/tmp/clients/echo,fork"} {
		w.background(t, w.Net.Agent.Command(ctx, "socat", address, "EXEC:cat"))
		w.background(t, w.On(ctx, "socat", address, "EXEC:cat"))
	}
}

// forwards: -L, -R and -D, TCP and unix sockets, each way, all over one
// connection.
func forwards(t *testing.T, w *world) {
	want := random(t, w.client, "/tmp/clients/payload", 5)
	w.workspace(t, "mkdir -p /tmp/clients/sockets")
	w.client(t, "mkdir -p /tmp/clients/sockets")
	w.background(t, w.sshCommand(t.Context(), "-N", "-o", "ExitOnForwardFailure=yes", "-D", "127.0.0.1:1080",
		"-L", "127.0.0.1:9101:localhost:9100", "-L", "/tmp/clients/sockets/local:/tmp/clients/echo", "-L", "9102:/tmp/clients/echo",
		"-R", "127.0.0.1:9201:localhost:9100", "-R", "/tmp/clients/sockets/remote:/tmp/clients/echo", "-R", "9202:/tmp/clients/echo", rig.Name))
	eventually(t, "the forwards", func() bool {
		_, err := w.onClient(t.Context(), "ss -ltn | grep -q 127.0.0.1:1080 && test -S /tmp/clients/sockets/local")
		_, remote := w.onAgent(t.Context(), "test -S /tmp/clients/sockets/remote && ss -ltn | grep -q 9202")
		return err == nil && remote == nil
	})
	for name, target := range map[string]string{
		"-L": "TCP:127.0.0.1:9101", "-L unix to unix": "UNIX-CONNECT:/tmp/clients/sockets/local", "-L TCP to unix": "TCP:127.0.0.1:9102",
	} {
		sameSum(t, name, w.client(t, "socat -t 20 - "+target+" < /tmp/clients/payload | sha256sum"), want)
	}
	sameSum(t, "-D", w.client(t, "nc -N -X 5 -x 127.0.0.1:1080 localhost 9100 < /tmp/clients/payload | sha256sum"), want)
	want = random(t, w.workspace, "/tmp/clients/payload", 5)
	for name, target := range map[string]string{
		"-R": "TCP:127.0.0.1:9201", "-R unix to unix": "UNIX-CONNECT:/tmp/clients/sockets/remote", "-R TCP to unix": "TCP:127.0.0.1:9202",
	} {
		sameSum(t, name, w.workspace(t, "socat -t 20 - "+target+" < /tmp/clients/payload | sha256sum"), want)
	}
}

// standardStreams: -W, as ProxyCommand uses it.
func standardStreams(t *testing.T, w *world) {
	want := random(t, w.client, "/tmp/clients/streams", 5)
	sameSum(t, "-W", w.client(t, "ssh -o BatchMode=yes -W localhost:9100 "+rig.Name+" < /tmp/clients/streams | sha256sum"), want)
}

// jump: -J leads to a host behind the workspace, which sees the workspace's
// address.
func jump(t *testing.T, w *world) {
	w.client(t, "test -e /tmp/jumper || ssh-keygen -q -t ed25519 -N '' -f /tmp/jumper")
	must(t, w.Net.Proxy.Write(t.Context(), "/tmp/authorized", w.client(t, "cat /tmp/jumper.pub")))
	cmd := w.On(within(t, patience), "ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "-i", "/tmp/jumper", "-J", rig.Name, "root@"+testnet.ProxyAddr, "echo $SSH_CONNECTION; exit 7")
	got := ended(t, cmd)
	if got.code != 7 || !strings.HasPrefix(got.stdout, "192.0.2.40 ") {
		t.Errorf("got %+v", got)
	}
}

// terminal: -t.
func terminal(t *testing.T, w *world) {
	got := w.ssh(t, "-tt", rig.Name, "tty; echo $TERM; exit 3")
	if got.code != 3 || !strings.Contains(got.stdout, "/dev/pts/") {
		t.Errorf("got %+v", got)
	}
	if got := w.ssh(t, "-T", rig.Name, "tty"); got.code != 1 || got.stdout != "not a tty\n" {
		t.Errorf("-T: %+v", got)
	}
}

// controlMaster: ten sessions at the same time, one connection.
func controlMaster(t *testing.T, w *world) {
	const sessions = 10
	before := strings.Count(w.Agent.Log(), "ssh connection taken")
	master := []string{"-o", "ControlPath=/tmp/clients/master", "-o", "ControlMaster=auto", "-o", "ControlPersist=60"}
	w.background(t, w.sshCommand(t.Context(), append(master, "-N", rig.Name)...))
	eventually(t, "the master", func() bool {
		return ended(t, w.sshCommand(t.Context(), append(master, "-O", "check", rig.Name)...)).code == 0
	})
	began := time.Now()
	var work sync.WaitGroup
	for index := range sessions {
		work.Go(func() {
			// Each waits until all are there.
			command := fmt.Sprintf("touch /tmp/clients/here-%d; while [ $(ls /tmp/clients/here-* | wc -l) -lt %d ]; do sleep 0.05; done; echo %d; exit %d", index, sessions, index, index)
			got := ended(t, w.sshCommand(within(t, patience), append(master, rig.Name, command)...))
			if got.code != index || got.stdout != fmt.Sprintln(index) {
				t.Errorf("session %d: %+v", index, got)
			}
		})
	}
	work.Wait()
	took := time.Since(began)
	if taken := strings.Count(w.Agent.Log(), "ssh connection taken") - before; taken != 1 {
		t.Errorf("the agent took %d connections", taken)
	}
	// A forward is added to the connection later, and taken away.
	forward := []string{"-L", "127.0.0.1:9103:localhost:9100"}
	for _, order := range []string{"forward", "cancel"} {
		if got := ended(t, w.sshCommand(within(t, patience), append(append(append([]string{}, master...), append([]string{"-O", order}, forward...)...), rig.Name)...)); got.code != 0 {
			t.Fatalf("-O %s: %+v", order, got)
		}
		_, err := w.onClient(t.Context(), "echo hello | socat -t 5 - TCP:127.0.0.1:9103 | grep -q hello")
		if (err == nil) != (order == "forward") {
			t.Errorf("after -O %s: %v", order, err)
		}
	}
	w.client(t, "ssh -O exit -o ControlPath=/tmp/clients/master "+rig.Name)
	figure(t, "%d sessions at the same time over one connection in %.2f s", sessions, took.Seconds())
}

// scp, with both of its protocols, both ways, and a tree.
func scp(t *testing.T, w *world) {
	there := random(t, w.workspace, "/tmp/clients/there", 5)
	for _, protocol := range []string{"-s", "-O"} {
		w.client(t, "scp -q -B "+protocol+" "+rig.Name+":/tmp/clients/there /tmp/clients/here; scp -q -B "+protocol+" /tmp/clients/here "+rig.Name+":/tmp/clients/again")
		sameSum(t, protocol+" from the workspace", w.client(t, "sha256sum < /tmp/clients/here; rm /tmp/clients/here"), there)
		sameSum(t, protocol+" to the workspace", w.workspace(t, "sha256sum < /tmp/clients/again; rm /tmp/clients/again"), there)
		w.client(t, "mkdir -p '/tmp/clients/a tree/-x'; echo leaf > '/tmp/clients/a tree/-x/é'; chmod 741 '/tmp/clients/a tree/-x'; scp -q -B -p -r "+protocol+" '/tmp/clients/a tree' "+rig.Name+":/tmp/clients/")
		if got := w.workspace(t, "cd /tmp/clients; cat 'a tree/-x/é'; stat -c %a 'a tree/-x'; rm -r 'a tree'"); got != "leaf\n741\n" {
			t.Errorf("%s: the tree is %q", protocol, got)
		}
	}
}

// sftpBatch: what a batch of the real program does.
func sftpBatch(t *testing.T, w *world) {
	want := random(t, w.client, "/tmp/clients/up", 5)
	batch := "mkdir dir\nput /tmp/clients/up dir/up\nchmod 640 dir/up\nrename dir/up dir/named\nln -s named dir/link\nget dir/link /tmp/clients/down\nls -l dir\nrm dir/link\npwd\n"
	cmd := w.On(within(t, patience), "sftp", "-b", "-", rig.Name)
	cmd.Stdin = strings.NewReader(batch)
	got := ended(t, cmd)
	if got.code != 0 || !strings.Contains(got.stdout, "Remote working directory: /root\n") {
		t.Fatalf("sftp: %+v", got)
	}
	sameSum(t, "down", w.client(t, "sha256sum < /tmp/clients/down"), want)
	sameSum(t, "up", w.workspace(t, "sha256sum < /root/dir/named"), want)
	if got := w.workspace(t, "stat -c %a /root/dir/named; ls /root/dir; rm -r /root/dir"); got != "640\nnamed\n" {
		t.Errorf("the directory: %q", got)
	}
}

// rsync both ways, by content; the second run has nothing to do.
func rsync(t *testing.T, w *world) {
	w.client(t, "mkdir -p /tmp/clients/tree/deep; for i in $(seq 200); do head -c 5000 /dev/urandom > /tmp/clients/tree/deep/$i; done; head -c 5M /dev/urandom > /tmp/clients/tree/big; ln -s big /tmp/clients/tree/link")
	const sums = "find . -type f | sort | xargs sha256sum | sha256sum; readlink link"
	want := w.client(t, "cd /tmp/clients/tree; "+sums)
	w.client(t, "rsync -a -e 'ssh -o BatchMode=yes' /tmp/clients/tree/ "+rig.Name+":/tmp/clients/tree/")
	if got := w.workspace(t, "cd /tmp/clients/tree; "+sums); got != want {
		t.Errorf("there: %s, want %s", got, want)
	}
	w.workspace(t, "cd /tmp/clients/tree; rm deep/7; printf changed | dd of=big bs=1 seek=1000000 conv=notrunc status=none; echo new > new")
	want = w.workspace(t, "cd /tmp/clients/tree; "+sums)
	back := "rsync -a -i --checksum --delete -e 'ssh -o BatchMode=yes' " + rig.Name + ":/tmp/clients/tree/ /tmp/clients/tree/"
	w.client(t, back)
	if got := w.client(t, "cd /tmp/clients/tree; "+sums); got != want {
		t.Errorf("back: %s, want %s", got, want)
	}
	if got := w.client(t, back); got != "" {
		t.Errorf("the second run moves %q", got)
	}
}

const committer = "-c user.name=Alice -c user.email=alice@example.com -c init.defaultBranch=main"

// gitToWorkspace: a bare repository in the workspace, cloned and pushed to.
func gitToWorkspace(t *testing.T, w *world) {
	w.workspace(t, "git "+committer+" init -q --bare /root/repository.git")
	w.client(t, "cd /tmp/clients; git "+committer+" init -q mine; cd mine; head -c 3M /dev/urandom > blob; git add blob; git "+committer+" commit -q -m first; "+
		"git push -q "+rig.Name+":/root/repository.git HEAD:main; cd ..; git clone -q -b main ssh://"+rig.Name+"/root/repository.git theirs; cd theirs; echo two > two; git add two; "+
		"git "+committer+" commit -q -m second; git push -q origin HEAD:main; cd ../mine; git pull -q --ff-only "+rig.Name+":/root/repository.git main; git fsck")
	if got, want := w.workspace(t, "git -C /root/repository.git rev-parse main"), w.client(t, "git -C /tmp/clients/mine rev-parse HEAD"); got != want {
		t.Errorf("the repository is at %q, want %q", got, want)
	}
}

// sshfs, where there is FUSE.
func sshfs(t *testing.T, w *world) {
	if _, err := w.onClient(t.Context(), "test -c /dev/fuse"); err != nil {
		t.Skip("no /dev/fuse")
	}
	want := random(t, w.workspace, "/root/read", 5)
	w.client(t, "mkdir -p /tmp/clients/mounted")
	w.background(t, w.On(t.Context(), "sshfs", "-f", "-o", "BatchMode=yes", rig.Name+":", "/tmp/clients/mounted"))
	eventually(t, "the mount", func() bool {
		_, err := w.onClient(t.Context(), "mountpoint -q /tmp/clients/mounted")
		return err == nil
	})
	sameSum(t, "read", w.client(t, "sha256sum < /tmp/clients/mounted/read"), want)
	w.client(t, "cd /tmp/clients/mounted; cp read written; mkdir d; mv written d/moved; ln -s moved d/link; truncate -s 1000 read; chmod 600 d/moved; sync")
	sameSum(t, "written", w.workspace(t, "sha256sum < /root/d/link"), want)
	if got := w.workspace(t, "stat -c '%s %a' /root/read; stat -c %a /root/d/moved; readlink /root/d/link; rm -r /root/d /root/read"); got != "1000 644\n600\nmoved\n" {
		t.Errorf("after the changes: %q", got)
	}
	if _, err := w.onClient(t.Context(), "cat /tmp/clients/mounted/read"); err == nil {
		t.Error("a file that was removed in the workspace is still there")
	}
	w.client(t, "umount -l /tmp/clients/mounted")
}

// startHost runs OpenSSH's own server on a host that is not ours; it takes the
// keys of /tmp/authorized on that host, and no password.
func (w *world) startHost(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	_, err := w.Net.Proxy.Shell(ctx, "mkdir -p /run/sshd; chmod 755 /root; touch /tmp/authorized; ssh-keygen -q -t ed25519 -N '' -f /tmp/hostkey")
	must(t, err)
	args := []string{"-D", "-e", "-f", "/dev/null", "-h", "/tmp/hostkey", "-o", "StrictModes=no"}
	for _, option := range []string{"AuthorizedKeysFile=/tmp/authorized", "PasswordAuthentication=no", "KbdInteractiveAuthentication=no", "PermitRootLogin=prohibit-password", "PidFile=none", "UsePAM=no"} {
		args = append(args, "-o", option)
	}
	w.background(t, w.Net.Proxy.Command(ctx, "/usr/sbin/sshd", args...))
	eventually(t, "the other host's sshd", func() bool {
		_, err := w.Net.Proxy.Shell(ctx, "ss -ltn | grep -q :22")
		return err == nil
	})
}
