package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// mistake is something that a user or a machine gets wrong: what is run on the
// client, and what must come of it.
type mistake struct {
	script string // of sh; the programs are in $bin
	code   int
	says   []string
}

// TestMistakes makes each of them and wants one clear message with its remedy,
// the documented exit code, and a host as it was.
func TestMistakes(t *testing.T) {
	needRig(t, true)
	stack := newStack(t, testnet.Public, testnet.Public)
	ctx := within(t, 3*time.Minute)
	must(t, stack.StartServer(ctx))
	_, err := stack.AddUser(ctx, rig.Owner)
	must(t, err)
	agent, err := stack.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	expired, err := stack.Admin(ctx, "token", "create", rig.Owner, "--lifetime", "1s")
	must(t, err)
	tlsURL := untrustedServer(t, stack)

	t.Run("Daemon", func(t *testing.T) {
		for name, made := range daemonMistakes() {
			check(t, stack, name, made)
		}
	})
	must(t, stack.StartDaemon(ctx))
	t.Run("Client", func(t *testing.T) {
		for name, made := range clientMistakes(stack.URL, tlsURL, agent, strings.TrimSpace(expired)) {
			check(t, stack, name, made)
		}
	})
	t.Run("Server", func(t *testing.T) {
		for name, made := range serverMistakes() {
			check(t, stack, name, made)
		}
	})
}

func daemonMistakes() map[string]mistake {
	return map[string]mistake{
		"unknown flag":       {"$bin/causewayd run --nonsense", 2, []string{"--nonsense"}},
		"unknown command":    {"$bin/causewayd nonsense", 2, []string{"nonsense"}},
		"no root":            {"setpriv --reuid 65534 --clear-groups $bin/causewayd run", 15, []string{"root"}},
		"no /dev/net/tun":    {"unshare -m sh -c 'mount -t tmpfs none /dev/net && exec $bin/causewayd run'", 13, []string{"/dev/net/tun"}},
		"name taken":         {"ip tuntap add dev causeway0 mode tun; $bin/causewayd run; code=$?; ip tuntap del dev causeway0 mode tun; exit $code", 13, []string{"causeway0"}},
		"config missing":     {"$bin/causewayd run --config /tmp/none.yaml", 10, []string{"/tmp/none.yaml"}},
		"config unknown key": {"echo 'colour: blue' > /tmp/c.yaml; $bin/causewayd run --config /tmp/c.yaml", 10, []string{"/tmp/c.yaml", "colour"}},
		"config no YAML":     {"printf 'a: [\\n' > /tmp/c.yaml; $bin/causewayd run --config /tmp/c.yaml", 10, []string{"/tmp/c.yaml"}},
		"config a directory": {"mkdir -p /tmp/dir.yaml; $bin/causewayd run --config /tmp/dir.yaml", 10, []string{"/tmp/dir.yaml"}},
		"state corrupt":      {"mkdir -m 700 /tmp/s1; echo nonsense > /tmp/s1/service.json; chmod 600 /tmp/s1/service.json; $bin/causewayd run --state-dir /tmp/s1", 11, []string{"/tmp/s1/service.json"}},
		"state a file":       {"touch /tmp/s2; $bin/causewayd run --state-dir /tmp/s2", 11, []string{"/tmp/s2"}},
		"bad variable":       {"CAUSEWAY_LOG_LEVEL=loud $bin/causewayd run", 10, []string{"loud"}},
		"no daemon":          {"$bin/causeway status", 3, []string{"no socket", "sudo causewayd run"}},
	}
}

func clientMistakes(good, tls, agentToken, expired string) map[string]mistake {
	login := func(url, token string) string {
		return "printf '%s\\n' '" + token + "' | $bin/causeway login '" + url + "' --token-file -"
	}
	return map[string]mistake{
		"second daemon":    {"$bin/causewayd run", 11, []string{"/var/lib/causeway"}},
		"socket served":    {"$bin/causewayd run --state-dir /tmp/s3 --interface other0", 12, []string{"/run/causeway/causeway.sock"}},
		"unknown command":  {"$bin/causeway nonsense", 2, []string{"nonsense"}},
		"unknown flag":     {"$bin/causeway status --nonsense", 2, []string{"--nonsense"}},
		"not signed in":    {"$bin/causeway up", 4, []string{"causeway login"}},
		"no URL":           {login("not a url", "x"), 2, []string{"URL", "https://coder.example.com"}},
		"wrong scheme":     {login("ftp://192.0.2.10", "x"), 2, []string{"https://"}},
		"dead port":        {login("http://192.0.2.10:9", "x"), 1, []string{"192.0.2.10:9", "refused"}},
		"not a server":     {login("http://192.0.2.10:7080/elsewhere", "x"), 1, []string{"192.0.2.10"}},
		"TLS not trusted":  {login(tls, "x"), 1, []string{"certificate"}},
		"wrong token":      {login(good, "cwu_wrong"), 4, []string{"token"}},
		"expired token":    {"sleep 1.1; " + login(good, expired), 4, []string{"expired"}},
		"agent's token":    {login(good, agentToken), 4, []string{"agent"}},
		"token file gone":  {"$bin/causeway login " + good + " --token-file /tmp/none", 1, []string{"/tmp/none"}},
		"empty token":      {login(good, ""), 2, []string{"token"}},
		"stranger's up":    {"setpriv --reuid 65534 --clear-groups $bin/causeway up", 5, []string{"no operator", "sudo"}},
		"stranger's login": {"echo x | setpriv --reuid 65534 --clear-groups $bin/causeway login " + good + " --token-file -", 5, []string{"no operator", "sudo"}},
	}
}

func serverMistakes() map[string]mistake {
	return map[string]mistake{
		"unknown flag":     {"$bin/causeway-server run --nonsense", 2, []string{"--nonsense"}},
		"corrupt database": {"mkdir -m 700 /tmp/d1; head -c 9000 /dev/urandom > /tmp/d1/server.db; $bin/causeway-server run --data-dir /tmp/d1 --listen 127.0.0.1:0", 11, []string{"/tmp/d1/server.db"}},
		"address taken":    {"$bin/probe tcp-sink 127.0.0.1:8099 >/dev/null & other=$!; until ss -ltn | grep -q 127.0.0.1:8099; do :; done; $bin/causeway-server run --data-dir /tmp/d2 --listen 127.0.0.1:8099 --stun-listen off; code=$?; kill $other; exit $code", 12, []string{"127.0.0.1:8099"}},
		"no data dir":      {"touch /tmp/d3; $bin/causeway-server run --data-dir /tmp/d3", 11, []string{"/tmp/d3"}},
		"no certificate":   {"$bin/causeway-server run --data-dir /tmp/d4 --tls-cert /tmp/none --tls-key /tmp/none", 10, []string{"/tmp/none"}},
		"user me":          {"$bin/causeway-server user create me --data-dir /tmp/d5", 2, []string{"me"}},
		"double hyphen":    {"$bin/causeway-server user create a--b --data-dir /tmp/d5", 2, []string{"a--b"}},
		"agent bad token":  {"CAUSEWAY_AGENT_TOKEN=cwa_x $bin/causeway-agent run --url http://192.0.2.10:7080 --state-dir /tmp/a1", 4, []string{"token"}},
		"agent bad URL":    {"CAUSEWAY_AGENT_TOKEN=cwa_x $bin/causeway-agent run --url nonsense --state-dir /tmp/a2", 2, []string{"nonsense"}},
		"agent no state":   {"touch /tmp/a3; CAUSEWAY_AGENT_TOKEN=cwa_x $bin/causeway-agent run --url http://192.0.2.10:7080 --state-dir /tmp/a3", 11, []string{"/tmp/a3"}},
	}
}

// check makes one mistake. Its message is at most six lines: what, where and
// the remedy, no usage text of a screen.
func check(t *testing.T, stack *rig.Stack, name string, made mistake) {
	t.Run(name, func(t *testing.T) {
		before := state(t, stack)
		cmd := stack.On(within(t, 30*time.Second), "sh", "-c", "export bin="+strings.TrimSuffix(stack.Path(""), "/")+"\n"+made.script)
		output, err := cmd.CombinedOutput()
		if got := exitCode(err); got != made.code {
			t.Errorf("exit code %d, want %d: %s", got, made.code, output)
		}
		for _, text := range made.says {
			if !strings.Contains(strings.ToLower(string(output)), strings.ToLower(text)) {
				t.Errorf("the message does not say %q:\n%s", text, output)
			}
		}
		if lines := strings.Count(string(output), "\n"); lines > 6 || lines == 0 {
			t.Errorf("the message has %d lines:\n%s", lines, output)
		}
		if lines := diff(before, state(t, stack)); len(lines) > 0 {
			t.Errorf("the host differs from before:\n%s", strings.Join(lines, "\n"))
		}
	})
}

// untrustedServer starts another control plane with a certificate that nobody
// vouches for.
func untrustedServer(t *testing.T, stack *rig.Stack) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nobody"}, IPAddresses: []net.IP{net.ParseIP(testnet.ProxyAddr)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	proxy := stack.Net.Proxy
	must(t, proxy.Write(t.Context(), "/tmp/cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))))
	must(t, proxy.Write(t.Context(), "/tmp/key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))))
	server := proxy.Command(t.Context(), stack.Path("causeway-server"), "run", "--listen", testnet.ProxyAddr+":443", "--tls-cert", "/tmp/cert.pem", "--tls-key", "/tmp/key.pem")
	must(t, server.Start())
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		_, err := proxy.Shell(t.Context(), "ss -ltn | grep -q :443")
		return err
	}))
	return "https://" + testnet.ProxyAddr
}
