package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// topology is one cell of the table of networks.
type topology struct {
	client, agent testnet.NAT
	direct        bool
	sample        bool
	// prepare is called before anything starts; it may set the access URL.
	prepare func(*testing.T, *rig.Stack)
	// forced: the relay must have been reached by websocket.
	forced bool
}

var topologies = map[string]topology{
	"SameLAN":         {client: testnet.Public, agent: testnet.Public, direct: true},
	"EasyNATBothEnds": {client: testnet.EasyNAT, agent: testnet.EasyNAT, direct: true, sample: true},
	"HardNATToEasy":   {client: testnet.HardNAT, agent: testnet.EasyNAT},
	"UDPBlocked":      {client: testnet.EasyNAT, agent: testnet.EasyNAT, prepare: blockUDP},
	"UDPBlockedWebsocket": {client: testnet.EasyNAT, agent: testnet.EasyNAT, forced: true, prepare: func(t *testing.T, stack *rig.Stack) {
		blockUDP(t, stack)
		nginx(t, stack, `if ($http_upgrade = "DERP") { return 426; } if ($http_upgrade = "derp") { return 426; }`)
	}},
	"BehindNginx": {client: testnet.EasyNAT, agent: testnet.EasyNAT, direct: true, prepare: func(t *testing.T, stack *rig.Stack) {
		nginx(t, stack, "")
		// The proxy carries no UDP: clients must be told where STUN is.
		stack.ServerArgs = []string{"--stun-servers", testnet.ServerAddr + ":3478"}
	}},
}

func blockUDP(t *testing.T, stack *rig.Stack) {
	must(t, stack.Net.ClientRouter.BlockUDP(t.Context()))
}

// nginx puts a reverse proxy between everybody and the server. The extra lines
// go into its location.
func nginx(t *testing.T, stack *rig.Stack, extra string) {
	t.Helper()
	stack.URL = "http://" + testnet.ProxyAddr
	config := `daemon off; master_process off; pid /run/nginx.pid; error_log stderr; events {}
http { access_log off; client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  server { listen 80; location / { ` + extra + `
    proxy_pass http://` + testnet.ServerAddr + `:7080; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 1h;
    proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; } } }
`
	must(t, stack.Net.Proxy.Write(t.Context(), "/tmp/nginx.conf", config))
	server := stack.Net.Proxy.Command(t.Context(), "nginx", "-c", "/tmp/nginx.conf")
	var output strings.Builder
	server.Stdout, server.Stderr = &output, &output
	must(t, server.Start())
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
}

func TestTopologies(t *testing.T) {
	for name, cell := range topologies {
		t.Run(name, func(t *testing.T) {
			needRig(t, cell.sample)
			stack := newStack(t, cell.client, cell.agent)
			if cell.prepare != nil {
				cell.prepare(t, stack)
			}
			upAndReach(t, stack)
			expectPath(t, stack, cell)
			sshSession(t, stack)
			copyFile(t, stack)
			udpEcho(t, stack)
			expectPath(t, stack, cell)
		})
	}
}

// expectPath waits for the direct path, or makes sure that there is none.
func expectPath(t *testing.T, stack *rig.Stack, cell topology) {
	t.Helper()
	if cell.direct {
		began := time.Now()
		output, err := stack.Causeway(within(t, 28*time.Second), "ping", rig.Name, "--until-direct", "-c", "100") // 30 s are allowed from `up`
		must(t, err)
		if !strings.Contains(output, "direct") {
			t.Errorf("no direct path: %s", output)
		}
		figure(t, "%.2f s from the first reply to direct", time.Since(began).Seconds())
		return
	}
	output, err := stack.Causeway(within(t, 40*time.Second), "ping", rig.Name, "-c", "3", "--timeout", "5s")
	must(t, err)
	if !strings.Contains(output, "relay") || strings.Contains(output, "direct") {
		t.Errorf("path is not the relay: %s", output)
	}
	if forced := strings.Contains(stack.Daemon.Log(), "websocket"); forced != cell.forced {
		t.Errorf("the daemon's log speaks of a websocket: %v, want %v", forced, cell.forced)
	}
}

func sshSession(t *testing.T, stack *rig.Stack) {
	t.Helper()
	output, err := ssh(within(t, 30*time.Second), stack, rig.Name, "echo $CODER_WORKSPACE_NAME; hostname").Output()
	must(t, err)
	if string(output) != rig.Workspace+"\nagent\n" {
		t.Errorf("ssh said %q", output)
	}
}

func copyFile(t *testing.T, stack *rig.Stack) {
	t.Helper()
	path, want := agentFile(t, stack, 100)
	began := time.Now()
	copying := ssh(within(t, 5*time.Minute), stack, rig.Name, "cat "+path)
	summing := exec.Command("sha256sum")
	var err error
	summing.Stdin, err = copying.StdoutPipe()
	must(t, err)
	must(t, copying.Start())
	output, err := summing.Output()
	must(t, err)
	must(t, copying.Wait())
	if got := firstWord(string(output)); got != want {
		t.Errorf("checksum of 100 MiB is %s, want %s", got, want)
	}
	figure(t, "100 MiB over ssh at %.1f MiB/s", 100/time.Since(began).Seconds())
}

func udpEcho(t *testing.T, stack *rig.Stack) {
	t.Helper()
	server := stack.Net.Agent.Command(t.Context(), stack.Path("probe"), "udp-echo", "127.0.0.1:9090")
	ready, err := server.StdoutPipe()
	must(t, err)
	must(t, server.Start())
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	var line string
	if _, err := fmt.Fscanln(ready, &line); err != nil {
		t.Fatalf("udp echo on the agent: %v", err)
	}
	_, err = stack.Client(within(t, 60*time.Second), stack.Path("probe"), "udp-check", rig.Name+":9090", "1232", "20")
	must(t, err)
}
