package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// The options of OpenSSH's scp, with a name for each letter.
var (
	scpSwitches = []struct{ letter, name, what string }{
		{"3", "through-here", "copy between two workspaces through this machine"},
		{"4", "ipv4", "use IPv4 addresses only"}, {"6", "ipv6", "use IPv6 addresses only"},
		{"A", "forward-agent", "forward the authentication agent"}, {"B", "batch", "never ask for a password"},
		{"C", "compress", "compress"}, {"O", "legacy", "use the old protocol of scp"},
		{"p", "preserve", "keep times and modes"}, {"q", "quiet", "show no progress"},
		{"r", "recursive", "copy directories whole"}, {"T", "trust-names", "do not check the names that the other side sends"},
		{"v", "verbose", "say what is done"},
	}
	scpValues = []struct{ letter, name, what string }{
		{"c", "cipher", "cipher"}, {"F", "config", "configuration file of ssh"}, {"i", "identity", "file of the private key"},
		{"J", "jump", "host to go through"}, {"l", "limit", "kilobits per second at most"}, {"P", "port", "port of the other side"},
		{"S", "program", "program to connect with, instead of ssh"},
	}
)

func (a *app) scp() *cobra.Command {
	var options []string
	command := &cobra.Command{
		Use: "scp <source>... <target>", Short: "Copy files to and from a workspace, with OpenSSH",
		Long: `Copy files with the scp that is installed. What is in a workspace is written as
[user@]NAME:PATH, where NAME is one of causeway list with or without the suffix,
or an address in brackets: [fd60:...]:PATH. Options are those of scp. Host keys
and keep-alives are those of causeway ssh.

Exits with the code of scp.`,
		Example: `  causeway scp notes.txt myws:
  causeway scp -r main.web:/var/log logs
  causeway scp -o ForwardAgent=yes '[fd60:627a:a42b::7]:a' b`,
		Args:              args(2, 1<<20, "at least one source and a target"),
		ValidArgsFunction: a.completeCopy,
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringArrayVarP(&options, "option", "o", nil, "option for ssh, as in ssh_config; may be repeated")
	for _, s := range scpSwitches {
		flags.BoolP(s.name, s.letter, false, s.what)
	}
	for _, s := range scpValues {
		flags.StringP(s.name, s.letter, "", s.what)
	}
	command.RunE = func(cmd *cobra.Command, args []string) error {
		program, err := openSSH("scp")
		if err != nil {
			return err
		}
		status, err := a.fetch(cmd.Context())
		if err != nil {
			return err
		}
		operands, err := a.scpOperands(cmd.Context(), status, args)
		if err != nil {
			return err
		}
		line, err := a.sshOptions(cmd.Context(), "scp", options)
		if err != nil {
			return err
		}
		flags.Visit(func(flag *pflag.Flag) {
			switch {
			case flag.Shorthand == "" || flag.Name == "option":
			case flag.Value.Type() == "bool":
				line = append(line, "-"+flag.Shorthand)
			default:
				line = append(line, "-"+flag.Shorthand, flag.Value.String())
			}
		})
		// Behind the dashes nothing is an option, whatever a file is called.
		return execute(program, append(append(line, "--"), operands...))
	}
	return command
}

// scpOperands puts the full names of agents in the place of those that were
// given.
func (a *app) scpOperands(ctx context.Context, status *localv1.Status, given []string) ([]string, error) {
	var operands []string
	remote := false
	for _, operand := range given {
		target, path, ok := cutRemote(operand)
		if !ok {
			operands = append(operands, operand)
			continue
		}
		remote = true
		user, name := cutUser(target)
		host, err := a.hostOf(ctx, status, strings.Trim(name, "[]"))
		if err != nil {
			return nil, err
		}
		if user != "" {
			host = user + "@" + host
		}
		operands = append(operands, host+":"+path)
	}
	if !remote {
		return nil, &usageError{cause: "scp: neither source nor target is in a workspace", remedy: "write what is in one as NAME:PATH; see the names with: causeway list"}
	}
	return operands, nil
}

// cutRemote divides what scp takes for a path at another host: before the first
// slash there is a colon, not counting those of an address in brackets.
func cutRemote(operand string) (target, path string, ok bool) {
	if filepath.VolumeName(operand) != "" { // a drive of Windows
		return "", "", false
	}
	start := 0
	if open := strings.IndexByte(operand, '['); open == 0 || open > 0 && operand[open-1] == '@' {
		if end := strings.Index(operand, "]:"); end > open {
			start = end + 1
		}
	}
	colon := strings.IndexByte(operand[start:], ':')
	if colon < 0 || start+colon == 0 || strings.Contains(operand[:start+colon], "/") {
		return "", "", false
	}
	return operand[:start+colon], operand[start+colon+1:], true
}

// notForwardable is a specification of a port that ssh would refuse, or take for
// something else.
func notForwardable(spec, why string) error {
	return &usageError{
		cause:  fmt.Sprintf("forward %q: %s", spec, why),
		remedy: "give PORT, PORT:PORT, PORT:HOST:PORT or ADDRESS:PORT:HOST:PORT; an IPv6 address stands in brackets",
	}
}

// errNoForward is a command without anything to forward.
var errNoForward = &localapi.Error{Code: localapi.CodeUsage, Cause: "forward: there is no -L and no -R", Remedy: "see: causeway port-forward --help"}
