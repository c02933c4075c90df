package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/localv1"
)

func (a *app) sshKnownHosts() *cobra.Command {
	var keep bool
	command := &cobra.Command{
		Use: "ssh-known-hosts [name]...", Short: "Print the host keys of workspaces, as ssh keeps them",
		Long: `Ask agents for the host keys of their SSH servers, and print them as lines of a
known_hosts file; without a name, of every agent that is online. The question
goes through the tunnel, to an address that only the agent has: whoever answers
is who the deployment says.

With --keep the name is one that ssh asks for, and its keys are added to
Causeway's own file of host keys, unless that knows the name. Keys that are kept
are not asked for again, so that a key that changes is refused by ssh.

causeway config-ssh and causeway ssh have OpenSSH 8.5 and later run this.`,
		Example: `  causeway ssh-known-hosts myws
  causeway ssh-known-hosts >> ~/.ssh/known_hosts`,
		ValidArgsFunction: a.completeNames,
	}
	command.Flags().BoolVar(&keep, "keep", false, "keep the keys for the one name as it is given, and print nothing if there are some")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if !keep {
			return a.printHostKeys(cmd.Context(), args)
		}
		if len(args) != 1 {
			return &usageError{cause: "run causeway ssh-known-hosts --keep: expected one name", remedy: "see: causeway ssh-known-hosts --help"}
		}
		return a.keepHostKeys(cmd.Context(), args[0])
	}
	return command
}

// printHostKeys prints what can be had; who was named and does not answer makes
// it fail.
func (a *app) printHostKeys(ctx context.Context, names []string) error {
	status, err := a.fetch(ctx)
	if err != nil {
		return err
	}
	var agents []*localv1.AgentStatus
	for _, name := range names {
		agent, err := find(status, name)
		if err != nil {
			return err
		}
		agents = append(agents, agent)
	}
	if len(names) == 0 {
		agents = slices.DeleteFunc(slices.Clone(sorted(status.GetAgents())), (*localv1.AgentStatus).GetOffline)
	}
	done := a.sayWhenSlow("asking the agents ...")
	lines, failures := make([]string, len(agents)), make([]error, len(agents))
	var work sync.WaitGroup
	atOnce := make(chan struct{}, 16) // agents that are asked at the same time
	for index, agent := range agents {
		work.Go(func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			var keys []ssh.PublicKey
			if keys, failures[index] = a.hostKeys(ctx, status.GetInterface(), agent); failures[index] == nil {
				lines[index] = hostKeyLines(agent.GetNames(), keys)
			}
		})
	}
	work.Wait()
	done()
	fmt.Fprint(a.env.Stdout, strings.Join(lines, ""))
	if len(names) > 0 {
		return errors.Join(failures...)
	}
	for _, failure := range failures {
		if failure != nil {
			fmt.Fprintf(a.env.Stderr, "causeway: %v\n", failure)
		}
	}
	return nil
}

// keepHostKeys is what ssh runs, possibly several times for one connection. Host
// is what it looks for: a name, or [name]:port.
func (a *app) keepHostKeys(ctx context.Context, host string) error {
	path, err := a.knownHosts()
	if err != nil {
		return err
	}
	name, port := host, uint16(22)
	if bare, text, err := net.SplitHostPort(host); err == nil {
		number, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return &usageError{cause: "run causeway ssh-known-hosts --keep: there is no port " + printable(text), remedy: "see: causeway ssh-known-hosts --help"}
		}
		name, port = bare, uint16(number)
	}
	known, err := isKnown(path, host)
	if err != nil {
		return &localapi.Error{Code: localapi.CodeGeneric, Cause: "look up the host key of " + printable(name) + ": " + err.Error(), Remedy: "take the damaged line out of " + path}
	}
	if known {
		return nil // ssh reads the file itself
	}
	status, err := a.fetch(ctx)
	if err != nil {
		return err
	}
	agent, err := find(status, name)
	if err != nil {
		// The user may have sent ssh elsewhere, and know that host otherwise.
		fmt.Fprintf(a.env.Stderr, "causeway: %v\n", err)
		return nil
	}
	keys, err := a.keysOnPort(ctx, status.GetInterface(), agent, port)
	if err != nil {
		return err
	}
	lines := hostKeyLines([]string{host}, keys)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("keep a host key: %w", err)
	}
	// One write, so that lines of two that run at the same time do not mix.
	_, err = file.WriteString(lines)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("keep a host key: %w", err)
	}
	fmt.Fprint(a.env.Stdout, lines)
	return nil
}

// isKnown says whether the file has keys for what ssh looks for.
func isKnown(path, host string) (bool, error) {
	if _, err := os.Stat(path); err != nil {
		return false, nil
	}
	check, err := knownhosts.New(path)
	if err != nil {
		return false, err
	}
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(host, "22")
	}
	var keyError *knownhosts.KeyError
	err = check(host, &net.TCPAddr{IP: net.IPv6unspecified}, noKey{})
	return errors.As(err, &keyError) && len(keyError.Want) > 0, nil
}

// noKey is a key that no server has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// hostKeyLines are lines of a known_hosts file. Names that could end a line, or
// mean more than one host, are left out.
func hostKeyLines(names []string, keys []ssh.PublicKey) string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return name == "" || strings.ContainsAny(name, "*?!,#@|\"") || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f })
	})
	if len(names) == 0 {
		return ""
	}
	var lines strings.Builder
	for _, key := range keys {
		lines.WriteString(strings.Join(names, ",") + " " + string(ssh.MarshalAuthorizedKey(key)))
	}
	return lines.String()
}

// tunnelAddr is the address of the agent that lies in a prefix of the tunnel:
// nobody else can answer there.
func tunnelAddr(agent *localv1.AgentStatus) (netip.Addr, bool) {
	for _, text := range agent.GetAddresses() {
		address, err := netip.ParseAddr(text)
		if err == nil && (proto.ServicePrefix.Contains(address) || proto.TailscalePrefix.Contains(address)) {
			return address, true
		}
	}
	return netip.Addr{}, false
}

// openSSHVersion finds the version of OpenSSH in what ssh -V prints.
var openSSHVersion = regexp.MustCompile(`^OpenSSH_(\d+)\.(\d+)`)

// asksForKeys says whether the version of ssh knows KnownHostsCommand: 8.5 does.
func asksForKeys(version string) bool {
	parts := openSSHVersion.FindStringSubmatch(version)
	if parts == nil {
		return false
	}
	major, _ := strconv.Atoi(parts[1])
	minor, _ := strconv.Atoi(parts[2])
	return major > 8 || major == 8 && minor >= 5
}
