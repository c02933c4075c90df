package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

func (a *app) ssh() *cobra.Command {
	var options []string
	command := &cobra.Command{
		Use: "ssh [user@]<name> [-- command...]", Short: "Open a shell in a workspace, with OpenSSH",
		Long: `Open a shell in a workspace, or run a command there. The name is one of
causeway list, with or without the suffix; a workspace with one agent needs only
its own name. This runs the OpenSSH client that is installed, with host keys
kept in a file of their own; they are asked for through the tunnel, or accepted
when first seen by an ssh before 8.5. It asks the workspace for a sign of life
each 15 s and gives up after two minutes without one, whatever your ssh_config
says; -o ServerAliveInterval=N says otherwise. Plain ssh works as well.

Exits with the code of the remote command, or 255 if ssh failed.`,
		Example: `  causeway ssh myws
  causeway ssh main.myws -- make test
  causeway ssh -o ForwardAgent=yes myws`,
		Args:              args(1, 1<<20, "the name of an agent"),
		ValidArgsFunction: a.completeNames,
	}
	command.Flags().StringArrayVarP(&options, "option", "o", nil, "option for ssh, as in ssh_config; may be repeated")
	// What follows the name belongs to the remote command, flags too.
	command.Flags().SetInterspersed(false)
	command.RunE = func(cmd *cobra.Command, args []string) error {
		remote := args[1:]
		if len(remote) > 0 && remote[0] == "--" {
			remote = remote[1:]
		}
		program, err := openSSH("ssh")
		if err != nil {
			return err
		}
		status, err := a.fetch(cmd.Context())
		if err != nil {
			return err
		}
		user, name := cutUser(args[0])
		host, err := a.hostOf(cmd.Context(), status, name)
		if err != nil {
			return err
		}
		line, err := a.sshLine(cmd.Context(), user, host, options, remote)
		if err != nil {
			return err
		}
		return execute(program, line)
	}
	a.addReconnect(command)
	return command
}

// openSSH is the path of a program of OpenSSH's client.
func openSSH(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", &localapi.Error{
			Code:   localapi.CodeGeneric,
			Cause:  "run " + program + ": the OpenSSH client is not installed, or not in PATH",
			Remedy: here.installSSH,
		}
	}
	return path, nil
}

// cutUser divides user@name.
func cutUser(target string) (user, name string) {
	if user, name, given := strings.Cut(target, "@"); given {
		return user, name
	}
	return "", target
}

// hostOf is the name that OpenSSH is to be given for an agent, which is there as
// far as is known.
func (a *app) hostOf(ctx context.Context, status *localv1.Status, name string) (string, error) {
	agent, err := find(status, name)
	if err != nil {
		return "", err
	}
	if len(agent.GetNames()) == 0 {
		return "", &localapi.Error{
			Code:   localapi.CodeNotFound,
			Cause:  fmt.Sprintf("run ssh: agent %q of workspace %q has no name that DNS can carry", agent.GetName(), agent.GetWorkspace()),
			Remedy: "rename the workspace or the agent",
		}
	}
	return agentName(agent), a.present(ctx, status, agent)
}

// sshLine is the command line of ssh, its own name first.
func (a *app) sshLine(ctx context.Context, user, host string, options, remote []string) ([]string, error) {
	line, err := a.sshOptions(ctx, "ssh", options)
	if err != nil {
		return nil, err
	}
	if user != "" {
		line = append(line, "-l", user)
	}
	// Behind the dashes nothing is an option, whatever the control plane calls
	// its agents.
	return append(append(line, "--", host), remote...), nil
}

// keepAlives have OpenSSH notice that nobody is there any more. A session that only
// prints sends nothing by itself, and would never hear that its agent is another.
var keepAlives = [][2]string{{"ServerAliveInterval", "15"}, {"ServerAliveCountMax", "8"}}

// sshOptions begins a command line of OpenSSH's client. It takes the first value
// of an option, so the user's come first. What the user's ssh_config says comes
// after all of them: OpenSSH has no options that give way to it.
func (a *app) sshOptions(ctx context.Context, program string, options []string) ([]string, error) {
	line := []string{program}
	for _, option := range options {
		line = append(line, "-o", option)
	}
	known, err := a.knownHosts()
	if err != nil {
		return nil, err
	}
	ours, err := a.keyOptions(ctx, known)
	if err != nil {
		return nil, err
	}
	for _, option := range append(ours, keepAlives...) {
		line = append(line, "-o", option[0]+"="+option[1])
	}
	return line, nil
}

// sshQuote protects a path with blanks in an option's value.
func sshQuote(path string) string {
	if strings.ContainsAny(path, " \t") {
		return `"` + path + `"`
	}
	return path
}

// knownHosts is our own file of host keys: a workspace is rebuilt with a new
// key more often than a machine, and the user's file should not fill with them.
func (a *app) knownHosts() (string, error) {
	path, err := a.knownHostsPath()
	if err != nil {
		return "", err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return "", fmt.Errorf("make a place for the host keys: %w", err)
	}
	return path, nil
}

func (a *app) knownHostsPath() (string, error) {
	dir, err := os.UserConfigDir()
	if base := a.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(base) {
		dir, err = base, nil
	} else if home := a.getenv("HOME"); home != "" && err != nil {
		dir, err = filepath.Join(home, ".config"), nil
	}
	if err != nil {
		return "", fmt.Errorf("find a place for the host keys: %w", err)
	}
	return filepath.Join(dir, "causeway", "known_hosts"), nil
}

// find is the agent that a name means: one of its full names, one of them
// without the suffix, agent.workspace, an address, or a workspace that has one
// agent.
func find(status *localv1.Status, name string) (*localv1.AgentStatus, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	var inWorkspace []*localv1.AgentStatus
	for _, agent := range sorted(status.GetAgents()) {
		short := strings.ToLower(agent.GetName() + "." + agent.GetWorkspace())
		full := name + "." + status.GetSuffix()
		if name == short || slices.Contains(agent.GetNames(), name) || slices.Contains(agent.GetNames(), full) || slices.Contains(agent.GetAddresses(), name) {
			return agent, nil
		}
		if strings.EqualFold(name, agent.GetWorkspace()) {
			inWorkspace = append(inWorkspace, agent)
		}
	}
	if len(inWorkspace) == 1 {
		return inWorkspace[0], nil
	}
	failed := &localapi.Error{Code: localapi.CodeNotFound, Cause: fmt.Sprintf("find agent %q: there is none of that name", name), Remedy: "see: causeway list"}
	var names []string
	for _, agent := range status.GetAgents() {
		names = append(names, agent.GetWorkspace(), agent.GetName()+"."+agent.GetWorkspace())
	}
	if len(inWorkspace) > 1 {
		failed.Cause = fmt.Sprintf("find agent %q: the workspace has %d agents", name, len(inWorkspace))
		failed.Remedy = "name one of them: " + agentName(inWorkspace[0]) + ", " + agentName(inWorkspace[1])
	} else if near := nearest(strings.TrimSuffix(name, "."+status.GetSuffix()), names); near != "" {
		failed.Remedy = fmt.Sprintf("did you mean %q? see: causeway list", near)
	}
	return nil, failed
}

// errExec is what replacing this process failed with.
var errExec = errors.New("run ssh")
