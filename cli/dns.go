package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// systemTimeout bounds the question to the operating system's resolver, which
// may itself try several servers for five seconds each.
const systemTimeout = 10 * time.Second

type dnsJSON struct {
	Version int        `json:"version"`
	Name    string     `json:"name"`
	Type    string     `json:"type"`
	Daemon  answerJSON `json:"daemon"`
	System  answerJSON `json:"system"`
	// Agree is null where the system cannot be asked for the type, or failed.
	Agree *bool `json:"agree"`

	failed bool // the system was asked and gave no answer
}

type answerJSON struct {
	Code    string       `json:"code"` // "NOERROR", "NXDOMAIN", ...; "" from the system
	Records []recordJSON `json:"records"`
	Error   string       `json:"error"`
}

type recordJSON struct {
	Name string `json:"name"`
	TTL  uint32 `json:"ttl"`
	Type string `json:"type"`
	Data string `json:"data"`
}

func (a *app) dns() *cobra.Command {
	command := &cobra.Command{
		Use: "dns", Short: "See, ask and repair how names resolve", Args: cobra.ArbitraryArgs,
		Example: `  causeway dns status
  causeway dns query main.myws.me.coder
  causeway dns repair`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	command.AddCommand(a.dnsStatus(), a.dnsQuery(), a.dnsFlush(), a.dnsRepair())
	return command
}

func (a *app) dnsQuery() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "query <name> [type]", Short: "Look a name up in the tunnel's resolver and in this machine's",
		Long: `Look a name up twice: in the resolver of the tunnel, and in the resolver of this
machine as programs use it. Where the two differ, something between them is in
the way, such as another VPN. The type is AAAA unless given; PTR takes an
address too.

Exits with 8 if the two answers differ or this machine's resolver fails, else
with 7 if the tunnel's resolver knows no such name.`,
		Example: `  causeway dns query main.myws.me.coder
  causeway dns query fd60:627a:a42b::53 PTR`,
		Args: args(1, 2, "a name and perhaps a type"), ValidArgsFunction: a.completeQuery,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/dns-query.json)")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		kind := dnsmessage.TypeAAAA
		if len(args) == 2 {
			var err error
			if kind, err = parseType(args[1]); err != nil {
				return err
			}
		}
		out, err := a.query(cmd.Context(), args[0], kind)
		if err != nil {
			return err
		}
		if asJSON {
			if err := writeJSON(a.env.Stdout, out); err != nil {
				return err
			}
		} else {
			a.printQuery(out)
		}
		switch {
		case out.failed:
			return &silentError{localapi.CodeDegraded}
		case out.Daemon.Code == "NXDOMAIN":
			return &silentError{localapi.CodeNotFound}
		case out.Daemon.Code != "NOERROR" || out.Agree != nil && !*out.Agree:
			return &silentError{localapi.CodeDegraded}
		}
		return nil
	}
	return command
}

// query asks both resolvers.
func (a *app) query(ctx context.Context, name string, kind dnsmessage.Type) (dnsJSON, error) {
	out := dnsJSON{Version: jsonVersion, Type: typeName(kind), System: answerJSON{Records: []recordJSON{}}}
	if address, err := netip.ParseAddr(name); err == nil && kind == dnsmessage.TypePTR {
		name = reverseName(address)
	}
	out.Name = strings.TrimSuffix(name, ".")
	message, err := packQuery(out.Name, kind)
	if err != nil {
		return out, err
	}
	client, err := a.dial(ctx)
	if err != nil {
		return out, err
	}
	defer client.Close()
	reply, err := call(ctx, a, queryLimit, client.QueryDNS, &localv1.QueryDNSRequest{Message: message})
	if err != nil {
		return out, err
	}
	if out.Daemon, err = parseAnswer(reply.GetMessage()); err != nil {
		return out, err
	}
	a.askSystem(ctx, &out, kind)
	return out, nil
}

func (a *app) askSystem(ctx context.Context, out *dnsJSON, kind dnsmessage.Type) {
	ctx, cancel := context.WithTimeout(ctx, systemTimeout)
	defer cancel()
	data, asked, err := a.env.Lookup(ctx, kind, out.Name)
	if err != nil {
		out.System.Error = err.Error()
	}
	// That there is no such name is an answer, to be compared.
	if out.failed = asked && err != nil && !errors.Is(err, errNoSuchName); out.failed || !asked {
		return
	}
	var ours []string
	for _, record := range out.Daemon.Records {
		if record.Type == out.Type {
			ours = append(ours, record.Data)
		}
	}
	for _, text := range data {
		out.System.Records = append(out.System.Records, recordJSON{Name: out.Name, Type: out.Type, Data: text})
	}
	slices.Sort(ours)
	slices.Sort(data)
	agree := slices.Equal(ours, data)
	out.Agree = &agree
}

func (a *app) printQuery(out dnsJSON) {
	style := a.style(a.env.Stdout)
	fmt.Fprintf(a.env.Stdout, "%s %s\n", out.Name, out.Type)
	fmt.Fprintf(a.env.Stdout, "tunnel's resolver: %s\n", out.Daemon.Code)
	for _, record := range out.Daemon.Records {
		fmt.Fprintf(a.env.Stdout, "  %s  %d s  %s  %s\n", record.Name, record.TTL, record.Type, record.Data)
	}
	if out.failed {
		fmt.Fprintf(a.env.Stdout, "%sthis machine's resolver failed%s: %s\n", style.red, style.reset, printable(out.System.Error))
		return
	}
	fmt.Fprintf(a.env.Stdout, "this machine's resolver:%s\n", suffixed(" ", out.System.Error))
	for _, record := range out.System.Records {
		fmt.Fprintf(a.env.Stdout, "  %s\n", record.Data)
	}
	switch {
	case out.Agree == nil:
	case *out.Agree:
		fmt.Fprintf(a.env.Stdout, "%sboth agree%s\n", style.green, style.reset)
	default:
		fmt.Fprintf(a.env.Stdout, "%sthey differ%s: see causeway status for what is in the way\n", style.red, style.reset)
	}
}
