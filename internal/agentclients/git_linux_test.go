package agentclients

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// gitSecret is the password of the git host: of a form that nothing else has,
// so that it can be looked for.
const gitSecret = "correct-horse-battery-6f1d"

// TestGitInTheWorkspace: a session's git signs in at git hosts as the
// workspace's owner: over SSH by the key of causeway-server git key, which is
// the only one that the host takes, and over HTTPS by the password of
// causeway-server git set. The hosts are OpenSSH's own server and git's own
// http-backend.
func TestGitInTheWorkspace(t *testing.T) {
	needRig(t, true)
	// Both hosts serve the same directory.
	shared, err := os.MkdirTemp("/var/tmp", "causeway-githost-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(shared) })
	repository := filepath.Join(shared, "project.git")
	for _, args := range [][]string{{"init", "-q", "--bare", repository}, {"-C", repository, "config", "http.receivepack", "true"}} {
		must(t, exec.Command("git", args...).Run())
	}
	w := newWorld(t, plan{prepare: func(w *world) {
		cmd := w.Net.Server.Command(within(t, patience), w.Path("causeway-server"), "git", "set", rig.Owner, "example.com:8443", "--username", "al", "--stdin")
		cmd.Stdin = strings.NewReader(gitSecret + "\n")
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git set: %v: %s", err, output)
		}
	}})
	w.startHost(t)
	asked := startHTTPS(t, w, shared)

	t.Run("OwnersKey", func(t *testing.T) { ownersKey(t, w, repository) })
	t.Run("StoredPassword", func(t *testing.T) { storedPassword(t, w, asked) })
	t.Run("ForwardedKey", func(t *testing.T) { forwardedKey(t, w, repository) })
	t.Run("ControlPlaneAway", func(t *testing.T) { controlPlaneAway(t, w, repository) })
}

// overSSH is how a session names the repository; the host's key is taken as it
// is there.
func overSSH(repository string) string { return "root@" + testnet.ProxyAddr + ":" + repository }

// trustHost is done once, as a user would by hand.
const trustHost = "mkdir -p ~/.ssh; ssh-keyscan -t ed25519 " + testnet.ProxyAddr + " > ~/.ssh/known_hosts 2>/dev/null"

func ownersKey(t *testing.T, w *world, repository string) {
	w.session(t, trustHost)
	clone := "git clone -q " + overSSH(repository) + " "
	if got := w.ssh(t, rig.Name, clone+"refused"); got.code == 0 || !strings.Contains(got.stderr, "Permission denied (publickey)") {
		t.Errorf("before the host knows the key: %+v", got)
	}
	key, err := w.Admin(within(t, patience), "git", "key", rig.Owner)
	must(t, err)
	must(t, w.Net.Proxy.Write(t.Context(), "/tmp/authorized", key))
	began := time.Now()
	w.session(t, clone+"mine 2>&1; cd mine; echo one > one; git add one; git "+committer+" commit -q -m one; git push -q origin HEAD:main")
	figure(t, "%.2f s for clone, commit and push over SSH with the owner's key", time.Since(began).Seconds())
	w.session(t, "git clone -q -b main "+overSSH(repository)+" again; cmp mine/one again/one")
	if got := w.session(t, "ls ~/.ssh; ssh-add -l 2>&1 || true"); strings.Contains(got, "id_") || strings.Contains(got, "ED25519") {
		t.Errorf("the session has a key: %q", got)
	}
	if got := w.ssh(t, rig.Name, "ssh -o BatchMode=yes root@"+testnet.ProxyAddr+" true"); got.code != 255 {
		t.Errorf("plain ssh of the workspace gets in: %+v", got)
	}
}

// startHTTPS serves the directory on the other host, as example.com:8443, to
// who has the password. It counts the requests with the right one.
func startHTTPS(t *testing.T, w *world, shared string) func() int {
	t.Helper()
	program, err := exec.Command("git", "--exec-path").Output()
	must(t, err)
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(program)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + shared, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	right := make(chan struct{}, 10_000)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		name, password, _ := request.BasicAuth()
		if name != "al" || password != gitSecret {
			answer.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(answer, "who are you", http.StatusUnauthorized)
			return
		}
		right <- struct{}{}
		backend.ServeHTTP(answer, request)
	}))
	server.Listener.Close()
	inNetwork(t, w.Net.Proxy, func() { server.Listener, err = net.Listen("tcp4", "0.0.0.0:8443") })
	must(t, err)
	server.StartTLS() // with a certificate for example.com
	t.Cleanup(server.Close)
	must(t, w.Net.Agent.Write(t.Context(), "/tmp/authority.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))))
	w.workspace(t, "echo "+testnet.ProxyAddr+" example.com >> /etc/hosts")
	return func() int { return len(right) }
}

const project = "https://example.com:8443/project.git"

func storedPassword(t *testing.T, w *world, asked func() int) {
	began := time.Now()
	w.session(t, "export GIT_SSL_CAINFO=/tmp/authority.pem GIT_TERMINAL_PROMPT=0; git clone -q -b main "+project+" web; cd web; echo web > web; git add web; git "+committer+" commit -q -m web; git push -q origin HEAD:main; git fetch -q")
	figure(t, "%.2f s for clone, commit, push and fetch over HTTPS with the stored password", time.Since(began).Seconds())
	if asked() == 0 {
		t.Error("nobody signed in")
	}
	if got := w.session(t, "env; cat ~/web/.git/config; ps axww"); strings.Contains(got, gitSecret) {
		t.Error("the password is where programs see it")
	}
	// A terminal's owner is asked when nothing is stored, and a script hears so.
	_, err := w.Admin(within(t, patience), "git", "delete", rig.Owner, "example.com:8443")
	must(t, err)
	eventually(t, "git to be refused", func() bool {
		got := w.ssh(t, rig.Name, "cd web; GIT_SSL_CAINFO=/tmp/authority.pem GIT_TERMINAL_PROMPT=0 git fetch")
		return got.code == 128 && strings.Contains(got.stderr, "terminal prompts disabled")
	})
}

// forwardedKey: a key that the user brought with -A is offered too.
func forwardedKey(t *testing.T, w *world, repository string) {
	w.client(t, "ssh-keygen -q -t ed25519 -N '' -f /tmp/brought")
	before, err := w.Net.Proxy.Run(t.Context(), "cat", "/tmp/authorized")
	must(t, err)
	defer func() { must(t, w.Net.Proxy.Write(t.Context(), "/tmp/authorized", before)) }()
	must(t, w.Net.Proxy.Write(t.Context(), "/tmp/authorized", w.client(t, "cat /tmp/brought.pub")))
	const fetch = " -o BatchMode=yes " + rig.Name + " 'cd mine; git fetch -q'"
	if _, err := w.onClient(within(t, patience), "ssh"+fetch); err == nil {
		t.Error("without the key it fetches")
	}
	w.client(t, "ssh-agent bash -ec \"ssh-add -q /tmp/brought; ssh -A"+fetch+"\"")
	// And the owner's is offered beside it.
	must(t, w.Net.Proxy.Write(t.Context(), "/tmp/authorized", before))
	w.client(t, "ssh-agent bash -ec \"ssh-add -q /tmp/brought; ssh -A"+fetch+"\"")
}

// controlPlaneAway: the key is in the agent's memory.
func controlPlaneAway(t *testing.T, w *world, repository string) {
	must(t, w.Server.Stop())
	w.session(t, "rm -rf away; git clone -q -b main "+overSSH(repository)+" away; cmp mine/one away/one")
	must(t, w.StartServer(within(t, patience)))
}

// inNetwork does what opens a socket in a host's network.
func inNetwork(t *testing.T, host *testnet.Host, open func()) {
	t.Helper()
	own, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	defer own.Close()
	theirs, err := os.Open("/proc/" + strconv.Itoa(host.PID()) + "/ns/net")
	must(t, err)
	defer theirs.Close()
	failed := make(chan error, 1)
	go func() {
		// A thread that cannot come back ends with its goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
			failed <- err
			return
		}
		open()
		err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			runtime.UnlockOSThread()
		}
		failed <- err
	}()
	must(t, <-failed)
}
