package gitauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// SSH runs the system's ssh for git: with the keys of the client's forwarded
// agent, when there is one, and with the owner's. Without a key, ssh runs all
// the same: the workspace may have keys of its own.
type SSH struct {
	// Directory has the agent's sockets.
	Directory string
	// Forwarded is the socket of the client's SSH agent; "" for none.
	Forwarded      string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run returns ssh's exit code.
func (s SSH) Run(ctx context.Context, arguments []string) (int, error) {
	path, err := exec.LookPath("ssh")
	if err != nil {
		return 0, fmt.Errorf("find ssh: %w; install OpenSSH's client in the workspace", err)
	}
	socket, end, err := s.socket()
	if err != nil {
		fmt.Fprintf(s.Stderr, "causeway-agent: the key of the workspace's owner is not at hand: %v\n", err)
	}
	defer end()
	if socket != "" {
		arguments = append([]string{"-o", "IdentityAgent=\"" + socket + "\""}, arguments...)
	}
	cmd := exec.CommandContext(ctx, path, arguments...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", path, err)
	}
	return 0, nil
}

// socket is where ssh finds its agent: ours, or one that has the keys of both.
// end takes it away. With an error it is the forwarded one, or none.
func (s SSH) socket() (socket string, end func(), err error) {
	nothing := func() {}
	own, err := net.Dial("unix", filepath.Join(s.Directory, KeySocket))
	if err != nil {
		return s.Forwarded, nothing, err
	}
	defer func() {
		if err != nil || s.Forwarded == "" {
			own.Close()
		}
	}()
	keys := agent.NewClient(own) // one for each connection: it reads ahead
	if _, err := keys.List(); err != nil {
		return s.Forwarded, nothing, fmt.Errorf("%w (the agent's log says more)", err)
	}
	if s.Forwarded == "" {
		return filepath.Join(s.Directory, KeySocket), nothing, nil
	}
	forwarded, err := net.Dial("unix", s.Forwarded)
	if err != nil {
		// It went with its session; a workspace's long-lived programs keep the variable.
		own.Close()
		return filepath.Join(s.Directory, KeySocket), nothing, nil
	}
	socket, stop, err := offer(&pair{agents: []agent.ExtendedAgent{agent.NewClient(forwarded), keys}})
	return socket, func() {
		stop()
		forwarded.Close()
		own.Close()
	}, err
}

// offer serves keys on a socket of its own.
func offer(keys agent.Agent) (socket string, end func(), err error) {
	directory, err := os.MkdirTemp("", "causeway-git-")
	if err != nil {
		return "", func() {}, fmt.Errorf("make socket for ssh: %w", err)
	}
	socket = filepath.Join(directory, "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		os.Remove(directory)
		return "", func() {}, fmt.Errorf("make socket for ssh: %w", err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_ = agent.ServeAgent(keys, idleConn{conn}) // it ends with ssh
			})
		}
	})
	return socket, func() {
		listener.Close()
		os.RemoveAll(directory)
		serving.Wait()
	}, nil
}

// pair is two agents as one. A failing one has no keys.
type pair struct {
	readOnly
	mu     sync.Mutex
	agents []agent.ExtendedAgent
}

func (p *pair) List() ([]*agent.Key, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*agent.Key
	var errs []error
	for _, each := range p.agents {
		keys, err := each.List()
		all, errs = append(all, keys...), append(errs, err)
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, errors.Join(errs...)
}

func (p *pair) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	return p.SignWithFlags(key, data, 0)
}

func (p *pair) SignWithFlags(key ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, each := range p.agents {
		signature, err := each.SignWithFlags(key, data, flags)
		if err == nil {
			return signature, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
