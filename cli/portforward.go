package cli

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// forward is one port that listens at one end and leads to the other.
type forward struct {
	bind   string // "": loopback
	listen uint16
	host   string
	port   uint16
}

func (a *app) portForward() *cobra.Command {
	var local, remote, options []string
	command := &cobra.Command{
		Use: "port-forward <name> -L|-R <port>...", Short: "Lead ports of this machine to a workspace, or back",
		Long: `Lead connections to a port through ssh: with -L from this machine to what the
workspace reaches, with -R from the workspace to what this machine reaches. It
runs until interrupted, and ends when a port cannot be had.

A port is PORT (the same at both ends), PORT:PORT, PORT:HOST:PORT or
ADDRESS:PORT:HOST:PORT; the first is the one that listens, on the loopback
address unless another is given. Everything that speaks TCP or UDP reaches a
workspace by its name anyway: this is for programs that insist on localhost.

Exits with the code of ssh, 255 if it failed.`,
		Example: `  causeway port-forward myws -L 8080
  causeway port-forward myws -L 8080:80 -L 5432:db:5432
  causeway port-forward main.web -R 3000`,
		Args: args(1, 1, "the name of an agent"), ValidArgsFunction: a.completeNames,
	}
	flags := command.Flags()
	flags.StringArrayVarP(&local, "local", "L", nil, "port of this machine; may be repeated")
	flags.StringArrayVarP(&remote, "remote", "R", nil, "port of the workspace; may be repeated")
	flags.StringArrayVarP(&options, "option", "o", nil, "option for ssh, as in ssh_config; may be repeated")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		var lines, words []string
		for _, direction := range []struct {
			flag, where string
			specs       []string
		}{{"-L", "here", local}, {"-R", "in the workspace", remote}} {
			for _, spec := range direction.specs {
				f, err := parseForward(spec)
				if err != nil {
					return err
				}
				words = append(words, direction.flag, f.spec())
				lines = append(lines, fmt.Sprintf("%s %s to %s", f.listener(), direction.where, f.target()))
			}
		}
		if len(lines) == 0 {
			return errNoForward
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
		line, err := a.sshOptions(cmd.Context(), "ssh", options)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.env.Stderr, "connecting to %s\n", host)
		// ssh runs the command when its ports listen: only then it is said. What is
		// in it has been checked to hold nothing that a shell or ssh would read.
		line = append(line, "-N", "-o", "ExitOnForwardFailure=yes",
			"-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo listening: "+strings.Join(lines, ", "))
		line = append(line, words...)
		if user != "" {
			line = append(line, "-l", user)
		}
		return execute(program, append(line, "--", host))
	}
	return command
}

// parseForward reads what ssh calls a forwarding, and checks it.
func parseForward(spec string) (forward, error) {
	parts, err := cutForward(spec)
	if err != nil {
		return forward{}, err
	}
	f := forward{host: "localhost"}
	switch len(parts) {
	case 1:
		parts = []string{"", parts[0], f.host, parts[0]}
	case 2:
		parts = []string{"", parts[0], f.host, parts[1]}
	case 3:
		parts = append([]string{""}, parts...)
	case 4:
		if parts[0] == "" {
			return forward{}, notForwardable(spec, "the address is empty")
		}
	default:
		return forward{}, notForwardable(spec, fmt.Sprintf("it has %d parts", len(parts)))
	}
	f.bind, f.host = parts[0], parts[2]
	if f.bind != "" && f.bind != "*" && !plainHost(f.bind) {
		return forward{}, notForwardable(spec, fmt.Sprintf("%q is no address", f.bind))
	}
	if !plainHost(f.host) {
		return forward{}, notForwardable(spec, fmt.Sprintf("%q is no host", f.host))
	}
	for i, port := range []*uint16{1: &f.listen, 3: &f.port} {
		if port == nil {
			continue
		}
		number, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil || number == 0 {
			return forward{}, notForwardable(spec, fmt.Sprintf("%q is no port", parts[i]))
		}
		*port = uint16(number)
	}
	return f, nil
}

// cutForward divides at colons, but for those of addresses in brackets.
func cutForward(spec string) ([]string, error) {
	var parts []string
	for rest := spec; ; {
		part, after, more := strings.Cut(rest, ":")
		if strings.HasPrefix(rest, "[") {
			inner, behind, closed := strings.Cut(rest[1:], "]")
			if address, err := netip.ParseAddr(inner); !closed || err != nil || !address.Is6() || behind != "" && behind[0] != ':' {
				return nil, notForwardable(spec, "what is in brackets is no IPv6 address")
			}
			part = inner
			after, more = strings.TrimPrefix(behind, ":"), behind != ""
		}
		parts = append(parts, part)
		if !more {
			return parts, nil
		}
		rest = after
	}
}

// plainHost is a name or address without anything that has a meaning to a shell.
func plainHost(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil && address.Zone() == "" {
		return true
	}
	return host != "" && host[0] != '-' && strings.Trim(host, hostLetters) == ""
}

// hostLetters are what names consist of.
const hostLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"

// bracketed is a host as it stands before a port.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// spec is what ssh takes.
func (f forward) spec() string {
	spec := fmt.Sprintf("%d:%s:%d", f.listen, bracketed(f.host), f.port)
	if f.bind != "" {
		spec = bracketed(f.bind) + ":" + spec
	}
	return spec
}

func (f forward) listener() string {
	switch f.bind {
	case "":
		return fmt.Sprintf("localhost:%d", f.listen)
	case "*":
		return fmt.Sprintf("port %d of every address", f.listen)
	}
	return fmt.Sprintf("%s:%d", bracketed(f.bind), f.listen)
}

func (f forward) target() string { return fmt.Sprintf("%s:%d", bracketed(f.host), f.port) }
