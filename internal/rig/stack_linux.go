package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/causewayhq/causeway/internal/testnet"
)

// Names that every stack has: the agent "main" of the workspace "myws" of admin.
const (
	Owner     = "admin"
	Workspace = "myws"
	Agent     = "main"
	// Name is how admin reaches it.
	Name = "main.myws.me.coder"
)

// port is where the server listens, on every topology.
const port = "7080"

// Stack is a whole Causeway on a topology.
type Stack struct {
	Net *testnet.Topology
	// URL is the access URL that agent and client use.
	URL string
	// ServerArgs are further arguments of `causeway-server run`.
	ServerArgs []string
	// Server, Agent, Daemon and Relay are nil until started.
	Server, Agent, Daemon, Relay *Program

	bin, dir string
	// wrap runs a command as the client does: on the client's namespace, or
	// on the systemd host that stands in it.
	wrap func(ctx context.Context, program string, args ...string) *exec.Cmd
}

// New makes a stack that runs the programs in bin and keeps logs in dir.
func New(net *testnet.Topology, bin, dir string) *Stack {
	return &Stack{Net: net, URL: "http://" + testnet.ServerAddr + ":" + port, bin: bin, dir: dir, wrap: net.Client.Command}
}

// OnSystem makes the systemd host the client: it must stand in the client's
// network. The programs are copied to where it sees them.
func (s *Stack) OnSystem(system *testnet.System) error {
	for _, program := range []string{"causeway", "causewayd", "probe"} {
		if err := exec.Command("cp", filepath.Join(s.bin, program), system.Share).Run(); err != nil {
			return fmt.Errorf("copy %s to the systemd host: %w", program, err)
		}
	}
	s.wrap = func(ctx context.Context, program string, args ...string) *exec.Cmd {
		if rest, found := strings.CutPrefix(program, s.bin); found {
			program = "/run/host" + rest
		}
		return system.Command(ctx, program, args...)
	}
	return nil
}

// Path of one of the programs, on the machine and on every host of the net.
func (s *Stack) Path(program string) string { return filepath.Join(s.bin, program) }

// On prepares a command on the client.
func (s *Stack) On(ctx context.Context, program string, args ...string) *exec.Cmd {
	return s.wrap(ctx, program, args...)
}

// Client runs a command on the client and returns what it printed.
func (s *Stack) Client(ctx context.Context, program string, args ...string) (string, error) {
	output, err := s.On(ctx, program, args...).CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("run %s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}

// Causeway runs the command line on the client.
func (s *Stack) Causeway(ctx context.Context, args ...string) (string, error) {
	return s.Client(ctx, s.Path("causeway"), args...)
}

// Admin runs a subcommand of causeway-server beside the running server.
func (s *Stack) Admin(ctx context.Context, args ...string) (string, error) {
	return s.Net.Server.Run(ctx, s.Path("causeway-server"), args...)
}

// StartServer starts the control plane and waits until it is ready.
func (s *Stack) StartServer(ctx context.Context) error {
	args := append([]string{"run", "--listen", "0.0.0.0:" + port, "--access-url", s.URL}, s.ServerArgs...)
	var err error
	if s.Server, err = start(s.dir, "server", s.Net.Server.Command(context.WithoutCancel(ctx), s.Path("causeway-server"), args...)); err != nil {
		return err
	}
	_, err = s.Net.Server.Run(ctx, s.Path("probe"), "wait-http", "http://127.0.0.1:"+port+"/readyz", "30s")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.Server.Log())
	}
	return nil
}

// AddUser makes a user and returns an API token.
func (s *Stack) AddUser(ctx context.Context, name string) (string, error) {
	return s.token(ctx, "user", "create", name)
}

// AddAgent makes a workspace with one agent and returns the agent's token.
func (s *Stack) AddAgent(ctx context.Context, owner, workspace, agent string) (string, error) {
	if _, err := s.Admin(ctx, "workspace", "create", owner+"/"+workspace); err != nil {
		return "", err
	}
	return s.NewAgent(ctx, owner+"/"+workspace+"/"+agent)
}

// NewAgent makes an agent OWNER/WORKSPACE/AGENT of a workspace that is there,
// and returns its token.
func (s *Stack) NewAgent(ctx context.Context, path string) (string, error) {
	return s.token(ctx, "agent", "create", path)
}

func (s *Stack) token(ctx context.Context, args ...string) (string, error) {
	output, err := s.Net.Server.Command(ctx, s.Path("causeway-server"), append(args, "--json")...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("run causeway-server %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
		}
		return "", err
	}
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(output, &answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("read token of causeway-server %s: %w: %s", strings.Join(args, " "), err, output)
	}
	return answer.Token, nil
}

// StartAgent starts the agent and waits until it is connected.
func (s *Stack) StartAgent(ctx context.Context, token string, extra ...string) error {
	cmd := s.Net.Agent.Command(context.WithoutCancel(ctx), s.Path("causeway-agent"), append([]string{"run", "--url", s.URL}, extra...)...)
	cmd.Env = append(os.Environ(), "CAUSEWAY_AGENT_TOKEN="+token, "HOME=/tmp", "USER=root", "LOGNAME=root")
	var err error
	if s.Agent, err = start(s.dir, "agent", cmd); err != nil {
		return err
	}
	return s.Agent.WaitFor(ctx, "connected")
}

// StartDaemon starts the daemon on the client and waits for its local API.
func (s *Stack) StartDaemon(ctx context.Context, extra ...string) error {
	var err error
	cmd := s.On(context.WithoutCancel(ctx), s.Path("causewayd"), append([]string{"run", "--log-level", "debug"}, extra...)...)
	if s.Daemon, err = start(s.dir, "daemon", cmd); err != nil {
		return err
	}
	return Eventually(ctx, func() error {
		select {
		case <-s.Daemon.done:
			return &finalError{fmt.Errorf("start daemon: it ended: %w:\n%s", s.Daemon.err, s.Daemon.Log())}
		default:
		}
		_, err := s.Causeway(ctx, "version", "--daemon")
		return err
	})
}

// Login signs the client in.
func (s *Stack) Login(ctx context.Context, token string) error {
	cmd := s.On(ctx, s.Path("causeway"), "login", s.URL, "--token-file", "-")
	cmd.Stdin = strings.NewReader(token + "\n")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("sign in: %w: %s", err, output)
	}
	return nil
}

// StartAll starts server, agent and daemon, and signs admin in.
func (s *Stack) StartAll(ctx context.Context) error {
	if err := s.StartServer(ctx); err != nil {
		return err
	}
	user, err := s.AddUser(ctx, Owner)
	if err != nil {
		return err
	}
	agent, err := s.AddAgent(ctx, Owner, Workspace, Agent)
	if err != nil {
		return err
	}
	if err := s.StartAgent(ctx, agent); err != nil {
		return err
	}
	if err := s.StartDaemon(ctx); err != nil {
		return err
	}
	return s.Login(ctx, user)
}

// RelayPort is where a relay that runs apart from the server listens, and
// RelayURL how everybody reaches it.
const (
	RelayPort = "3340"
	RelayURL  = "http://" + testnet.RelayAddr + ":" + RelayPort
)

// StartRelay starts a relay on the host, which must have the relay's address;
// the server needs the argument --relays to tell of it. Its key is kept on the
// host, so that it is the same relay after a restart.
func (s *Stack) StartRelay(ctx context.Context, host *testnet.Host) error {
	var err error
	if s.Relay, err = s.Start("relay", host.Command(context.WithoutCancel(ctx), s.Path("probe"), "relay", ":"+RelayPort, ":3478", "/var/lib/relay.key")); err != nil {
		return err
	}
	return s.Relay.WaitFor(ctx, "ready")
}

// Start runs a further program, whose output is kept beside the others'.
func (s *Stack) Start(name string, cmd *exec.Cmd) (*Program, error) { return start(s.dir, name, cmd) }

// Port is where the server listens.
func (s *Stack) Port() string { return port }

// Close stops all programs, those that depend on others first.
func (s *Stack) Close() error {
	return errors.Join(s.Daemon.Stop(), s.Agent.Stop(), s.Server.Stop(), s.Relay.Stop())
}

// Logs is what all programs have printed, for a failure's message.
func (s *Stack) Logs() string {
	var text strings.Builder
	for _, program := range []*Program{s.Server, s.Relay, s.Agent, s.Daemon} {
		if program != nil {
			fmt.Fprintf(&text, "==== %s\n%s\n", program.name, program.Log())
		}
	}
	return text.String()
}
