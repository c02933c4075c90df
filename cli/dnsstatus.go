package cli

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/cli/doctor"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

type dnsStatusJSON struct {
	Version     int            `json:"version"`
	Suffix      string         `json:"suffix"`
	Mode        string         `json:"mode"`
	NamesAnswer bool           `json:"names_answer"`
	ResolvConf  resolvConfJSON `json:"resolv_conf"`
	Programs    lookupJSON     `json:"programs"`
	Direct      lookupJSON     `json:"direct"`
	Resolved    *resolvedJSON  `json:"resolved"`
	Problems    []problemJSON  `json:"problems"`
}

type resolvConfJSON struct {
	Target  string   `json:"target"`
	Servers []string `json:"servers"`
	Writer  string   `json:"writer"`
	Error   string   `json:"error"`
}

type lookupJSON struct {
	Asked bool   `json:"asked"`
	Right bool   `json:"right"`
	Error string `json:"error"`
}

type resolvedJSON struct {
	Servers []string `json:"servers"`
	Domains []string `json:"domains"`
}

type dnsRepairJSON struct {
	Version     int    `json:"version"`
	NamesAnswer bool   `json:"names_answer"`
	Cause       string `json:"cause"`
}

func (a *app) dnsStatus() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "status", Short: "Show how this machine resolves our names", Args: args(0, 0, ""),
		Long: `Show how this machine resolves our names, and where each fact comes from: how the
daemon has set it up, what stands in resolv.conf, what systemd-resolved knows of
our link, and whether a name of ours is found by programs that ask as most do
and by those that ask the first server of resolv.conf themselves.

Exits with 8 if programs do not find our names.`,
		Example: `  causeway dns status
  causeway dns status --json | jq .resolved.servers`,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/dns-status.json)")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		// Who may not, or has no tunnel, hears so as from every other command.
		status, err := a.fetch(cmd.Context())
		if err != nil {
			return err
		}
		machine := a.patient()
		done := a.sayWhenSlow("asking ...")
		tunnel := machine.Tunnel(cmd.Context())
		if tunnel.Err != nil {
			done()
			return tunnel.Err
		}
		if tunnel.Status != nil {
			status = tunnel.Status
		}
		names := machine.Names(cmd.Context(), tunnel)
		done()
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		out := dnsStatusOf(status, names)
		if asJSON {
			err = writeJSON(a.env.Stdout, out)
		} else {
			a.printDNS(out)
		}
		if err == nil && (!out.NamesAnswer || out.Programs.Asked && !out.Programs.Right) {
			err = &silentError{localapi.CodeDegraded}
		}
		return err
	}
	return command
}

func dnsStatusOf(status *localv1.Status, names doctor.Names) dnsStatusJSON {
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	out := dnsStatusJSON{
		Version: jsonVersion, Suffix: status.GetSuffix(), Mode: status.GetDnsMode(), NamesAnswer: status.GetCanaryOk(), Problems: []problemJSON{},
		ResolvConf: resolvConfJSON{names.ResolvConf.Target, texts(names.ResolvConf.Servers), names.ResolvConf.Writer, text(names.ResolvConf.Err)},
		Programs:   lookupJSON{names.Libc.Asked, names.Libc.Right, text(names.Libc.Err)},
		Direct:     lookupJSON{names.Direct.Asked, names.Direct.Right, text(names.Direct.Err)},
	}
	if names.Resolved.Err == nil && (len(names.Resolved.Servers) > 0 || status.GetDnsMode() == "resolved") {
		out.Resolved = &resolvedJSON{texts(names.Resolved.Servers), append([]string{}, names.Resolved.Domains...)}
	}
	for _, p := range status.GetProblems() {
		if strings.HasPrefix(p.GetCode(), "names-") || p.GetCode() == "host-configuration" || strings.HasPrefix(p.GetCode(), "dns-") {
			out.Problems = append(out.Problems, problemJSON{p.GetCode(), p.GetCause(), p.GetRemedy()})
		}
	}
	return out
}

func texts(addresses []netip.Addr) []string {
	out := []string{}
	for _, address := range addresses {
		out = append(out, address.String())
	}
	return out
}

func (a *app) printDNS(out dnsStatusJSON) {
	style := a.style(a.env.Stdout)
	line := func(what, how, source string) {
		fmt.Fprintf(a.env.Stdout, "%-13s  %s  (%s)\n", what, printable(dash(how)), source)
	}
	found := func(lookup lookupJSON) string {
		switch {
		case !lookup.Asked:
			return "not asked"
		case lookup.Right:
			return style.green + "found" + style.reset
		}
		return style.red + "not found" + style.reset + suffixed(": ", printable(lookup.Error))
	}
	names := style.red + "not answering" + style.reset
	if out.NamesAnswer {
		names = style.green + "answering" + style.reset
	}
	fmt.Fprintf(a.env.Stdout, "%-13s  *.%s %s  (the daemon, by this machine's own resolver)\n", "names", printable(out.Suffix), names)
	line("set up by", out.Mode, "the daemon")
	servers := strings.Join(out.ResolvConf.Servers, " ") + suffixed(", links to ", out.ResolvConf.Target) + suffixed(", written by ", out.ResolvConf.Writer)
	if out.ResolvConf.Error != "" {
		servers = out.ResolvConf.Error
	}
	line("resolv.conf", servers, "/etc/resolv.conf")
	if out.Resolved != nil {
		line("our link", strings.Join(out.Resolved.Servers, " ")+" for "+strings.Join(out.Resolved.Domains, " "), "systemd-resolved")
	}
	fmt.Fprintf(a.env.Stdout, "%-13s  %s  (asked as most programs do)\n", "programs", found(out.Programs))
	fmt.Fprintf(a.env.Stdout, "%-13s  %s  (the first server of resolv.conf asked)\n", "direct", found(out.Direct))
	for _, problem := range out.Problems {
		fmt.Fprintf(a.env.Stdout, "\n%sproblem%s %s: %s\n  remedy: %s\n", style.red, style.reset, problem.Code, printable(problem.Cause), printable(problem.Remedy))
	}
}

func (a *app) dnsFlush() *cobra.Command {
	return a.dnsMend(true, &cobra.Command{
		Use: "flush", Short: "Empty this machine's cache of names",
		Long: `Have the daemon empty the cache in which this machine's resolver keeps answers,
and look whether names answer. It changes no setting.

Exits with 8 if names do not answer afterwards; causeway dns repair does more.`,
		Example: `  causeway dns flush`,
	})
}

func (a *app) dnsRepair() *cobra.Command {
	return a.dnsMend(false, &cobra.Command{
		Use: "repair", Short: "Put back what names need on this machine",
		Long: `Have the daemon look at everything that names need on this machine: its
interface, address, routes, name servers and hosts file. What is not as it should
be is put back, the cache is emptied, and a name of ours is looked up. What other
programs have set is left alone; causeway doctor names it.

Exits with 8 if names do not answer afterwards.`,
		Example: `  causeway dns repair
  causeway dns repair --json`,
	})
}

func (a *app) dnsMend(flushOnly bool, command *cobra.Command) *cobra.Command {
	var asJSON bool
	command.Args = args(0, 0, "")
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/dns-"+command.Name()+".json)")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		done := a.sayWhenSlow("waiting for the daemon ...")
		answer, err := a.repair(cmd.Context(), client, flushOnly)
		done()
		if answer == nil {
			return err
		}
		if asJSON {
			if err := writeJSON(a.env.Stdout, dnsRepairJSON{jsonVersion, answer.GetCanaryOk(), answer.GetCause()}); err != nil {
				return err
			}
		} else if answer.GetCanaryOk() {
			fmt.Fprintln(a.env.Stdout, "names answer on this machine")
			if answer.GetCause() != "" {
				fmt.Fprintf(a.env.Stderr, "causeway: warning: %s\n", printable(answer.GetCause()))
			}
		}
		return err
	}
	return command
}

// repair is the daemon's answer, and an error as well if names do not answer
// afterwards.
func (a *app) repair(ctx context.Context, client *localapi.Client, flushOnly bool) (*localv1.RepairNamesResponse, error) {
	answer, err := call(ctx, a, workLimit, client.RepairNames, &localv1.RepairNamesRequest{FlushOnly: flushOnly})
	if err != nil {
		return nil, err
	}
	if !answer.GetCanaryOk() {
		return answer, &localapi.Error{
			Code: localapi.CodeDegraded, Cause: "repair names: they do not answer: " + dash(answer.GetCause()), Remedy: "run: causeway doctor",
		}
	}
	return answer, nil
}
