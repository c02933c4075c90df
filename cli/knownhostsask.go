package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/proto/localv1"
)

const (
	// sshVersionLimit bounds the wait for ssh -V, which does nothing.
	sshVersionLimit = 5 * time.Second
	// hostKeysLimit bounds one way of asking for keys; hostKeysMost the answer,
	// and maxHostKeys their number: servers have three.
	hostKeysLimit = 15 * time.Second
	hostKeysMost  = 64 << 10
	maxHostKeys   = 16
)

// errNotServed: the agent does not tell its keys, as those of other deployments.
var errNotServed = errors.New("the agent does not tell its host keys")

// hostKeys asks the agent for its keys, through the tunnel's device and no other
// (leaveBy). An agent that cannot be asked shows its key when a connection begins.
func (a *app) hostKeys(ctx context.Context, device string, agent *localv1.AgentStatus) ([]ssh.PublicKey, error) {
	address, ok := tunnelAddr(agent)
	if !ok {
		return nil, fmt.Errorf("ask %s for its host keys: it has no address in the tunnel", agentName(agent))
	}
	port := &agentPort{app: a, agent: agent, addr: address, port: agentHTTPPort, what: askKeys, device: device}
	keys, err := port.hostKeys(ctx)
	if !errors.Is(err, errNotServed) {
		return keys, err
	}
	for _, number := range agentSSHPorts {
		if keys, err = a.shownKeys(ctx, device, agent, number); err == nil {
			return keys, nil
		}
	}
	return nil, err
}

// askKeys is what is done with an agent here, for errors.
const askKeys = "ask for the host keys of"

// agentSSHPorts are those of the agent's own server.
var agentSSHPorts = []uint16{22, 1}

// keysOnPort are the keys of whoever serves SSH on a port of the agent. Behind
// others than its own is a program of the workspace, with a key that the agent
// does not know: that program shows it, through the tunnel as well.
func (a *app) keysOnPort(ctx context.Context, device string, agent *localv1.AgentStatus, number uint16) ([]ssh.PublicKey, error) {
	if slices.Contains(agentSSHPorts, number) {
		return a.hostKeys(ctx, device, agent)
	}
	return a.shownKeys(ctx, device, agent, number)
}

// shownKeys is the key that a server shows when a connection begins.
func (a *app) shownKeys(ctx context.Context, device string, agent *localv1.AgentStatus, number uint16) ([]ssh.PublicKey, error) {
	address, ok := tunnelAddr(agent)
	if !ok {
		return nil, fmt.Errorf("ask %s for its host keys: it has no address in the tunnel", agentName(agent))
	}
	key, err := (&agentPort{app: a, agent: agent, addr: address, port: number, what: askKeys, device: device}).shownKey(ctx)
	if err != nil {
		return nil, err
	}
	return []ssh.PublicKey{key}, nil
}

// hostKeys reads the answer of the agent's own interface.
func (p *agentPort) hostKeys(ctx context.Context) ([]ssh.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, hostKeysLimit)
	defer cancel()
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.connect(ctx) },
		DisableKeepAlives: true, Proxy: nil, // the tunnel is the way there
	}
	url := "http://" + netip.AddrPortFrom(p.addr, p.port).String() + "/api/v0/ssh-host-keys"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, p.failed(err)
	}
	response, err := transport.RoundTrip(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNotServed
	}
	if err != nil {
		return nil, p.failed(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return nil, errNotServed
	}
	if response.StatusCode != http.StatusOK {
		return nil, p.failed(fmt.Errorf("the agent answers %q", response.Status))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, hostKeysMost))
	if err != nil {
		return nil, p.failed(err)
	}
	keys, err := parseHostKeys(body)
	if err != nil {
		return nil, p.failed(err)
	}
	return keys, nil
}

// parseHostKeys reads {"version": 1, "keys": ["ssh-ed25519 AAAA..."]}.
func parseHostKeys(body []byte) ([]ssh.PublicKey, error) {
	var answer struct {
		Version int      `json:"version"`
		Keys    []string `json:"keys"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read the agent's answer: %w", err)
	}
	if answer.Version != 1 || len(answer.Keys) == 0 || len(answer.Keys) > maxHostKeys {
		return nil, fmt.Errorf("read the agent's answer: version %d with %d keys", answer.Version, len(answer.Keys))
	}
	var keys []ssh.PublicKey
	for _, text := range answer.Keys {
		key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(text))
		if err != nil || len(rest) > 0 {
			return nil, errors.New("read the agent's answer: it holds what is no key")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// shownKey begins a connection of SSH, and ends it when the server has proved
// to have the key.
func (p *agentPort) shownKey(ctx context.Context) (ssh.PublicKey, error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(hostKeysLimit)); err != nil {
		return nil, p.failed(err)
	}
	var shown ssh.PublicKey
	enough := errors.New("the key is all that was wanted")
	_, _, _, err = ssh.NewClientConn(conn, p.addr.String(), &ssh.ClientConfig{
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			shown = key
			return enough
		},
	})
	if shown == nil {
		return nil, p.failed(err)
	}
	return shown, nil
}

// keyOptions make ssh check host keys, as options of ssh_config in their order.
// An ssh that can ask for keys accepts only what the tunnel or the file answers;
// an older one accepts a key when it first sees it.
func (a *app) keyOptions(ctx context.Context, known string) ([][2]string, error) {
	options := [][2]string{{"StrictHostKeyChecking", "accept-new"}, {"UserKnownHostsFile", sshQuote(known)}}
	if !knownHostsCommandWorks {
		return options, nil
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		return options, nil // who runs it says so
	}
	ctx, cancel := context.WithTimeout(ctx, sshVersionLimit)
	defer cancel()
	// It goes to standard error. What fails is no OpenSSH, or none that works.
	version, err := exec.CommandContext(ctx, program, "-V").CombinedOutput()
	if err != nil || !asksForKeys(string(version)) {
		return options, nil
	}
	own, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	words := []string{own, "ssh-known-hosts"}
	if a.socket != "" {
		socket, err := filepath.Abs(a.socket)
		if err != nil {
			return nil, fmt.Errorf("find socket: %w", err)
		}
		words = append(words, "--socket", socket)
	}
	for index, word := range words {
		words[index] = sshQuote(strings.ReplaceAll(word, "%", "%%"))
	}
	options[0][1] = "yes"
	return append(options, [2]string{"KnownHostsCommand", strings.Join(words, " ") + " --keep %H"}), nil
}
