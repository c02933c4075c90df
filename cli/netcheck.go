package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/cli/doctor"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// netcheckLimit is past what the daemon gives the network (6 s) and the relay
// (3 s).
const netcheckLimit = 15 * time.Second

type netcheckJSON struct {
	Version       int         `json:"version"`
	At            *time.Time  `json:"at"`
	UDP           bool        `json:"udp"`
	IPv4          bool        `json:"ipv4"`
	IPv6          bool        `json:"ipv6"`
	PublicIPv4    string      `json:"public_ipv4"`
	PublicIPv6    string      `json:"public_ipv6"`
	NAT           string      `json:"nat"`
	PortMapping   *bool       `json:"port_mapping"`
	CaptivePortal *bool       `json:"captive_portal"`
	Endpoints     []string    `json:"endpoints"`
	HomeRelay     *relayJSON  `json:"home_relay"`
	RelayError    string      `json:"home_relay_error"`
	Relays        []relayJSON `json:"relays"`
	Proxies       []proxyJSON `json:"proxies"`
	VPNs          []vpnJSON   `json:"vpns"`
}

type proxyJSON struct {
	Of       string `json:"of"`
	Variable string `json:"variable"`
	Address  string `json:"address"`
	Error    string `json:"error"`
}

type vpnJSON struct {
	Interface string `json:"interface"`
	Maker     string `json:"maker"`
}

func (a *app) netcheck() *cobra.Command {
	var asJSON bool
	var every time.Duration
	command := &cobra.Command{
		Use: "netcheck", Short: "Survey the network: UDP, NAT, relays, proxies, other VPNs", Args: args(0, 0, ""),
		Long: `Survey the network between this machine and its workspaces, and say where each
fact comes from. The daemon asks the STUN servers and relays of the deployment;
proxies are those that variables name, and are connected to; other VPNs are
interfaces of this machine with the names that they usually have.

UDP decides whether there can be direct paths. A hard NAT uses another port for
each destination: then the other side has to be easy to reach.

Exits with 8 if neither UDP nor a relay works. With --every it goes on, also
while the daemon is away, until it is interrupted.`,
		Example: `  causeway netcheck
  causeway netcheck --every 30s --json`,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/netcheck.json)")
	command.Flags().DurationVar(&every, "every", 0, "survey again and again, with this much time between")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < 0 {
			return &usageError{cause: "netcheck: the time must not be negative", remedy: "see: causeway netcheck --help"}
		}
		for {
			err := a.survey(cmd.Context(), asJSON)
			if every == 0 || !passing(err) {
				return err
			}
			// What is down now is what this is for; a daemon may be restarted.
			var silent *silentError
			if err != nil && !errors.As(err, &silent) && cmd.Context().Err() == nil {
				a.report(err)
			}
			if !pause(cmd.Context(), every) {
				return nil
			}
			if !asJSON {
				fmt.Fprintln(a.env.Stdout)
			}
		}
	}
	return command
}

func (a *app) survey(ctx context.Context, asJSON bool) error {
	// Who may not, or has no tunnel, hears so as from every other command.
	if _, err := a.fetch(ctx); err != nil {
		return err
	}
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	done := a.sayWhenSlow("measuring ...")
	answer, err := call(ctx, a, netcheckLimit, client.Examine, &localv1.ExamineRequest{Network: true})
	var proxies doctor.Proxies
	if err == nil {
		proxies = a.patient().Proxies(ctx, doctor.Tunnel{Status: answer.GetStatus(), Variables: answer.GetProxyVariables()})
	}
	done()
	if err != nil {
		return err
	}
	if answer.GetNetwork() == nil {
		return notWorking(answer.GetStatus(), "netcheck")
	}
	// Without a list of interfaces there is nothing to say of other VPNs.
	interfaces, _ := net.Interfaces()
	out := netcheckOf(shown(answer), proxies, doctor.VPNs(interfaces, answer.GetStatus().GetInterface(), (*net.Interface).Addrs))
	if asJSON {
		err = writeJSON(a.env.Stdout, out)
	} else {
		err = a.printNetcheck(out)
	}
	if err == nil && !out.UDP && out.RelayError != "" {
		err = &silentError{localapi.CodeDegraded}
	}
	return err
}

func netcheckOf(in *localv1.ExamineResponse, proxies doctor.Proxies, vpns []doctor.VPN) netcheckJSON {
	network := in.GetNetwork()
	out := netcheckJSON{
		Version: jsonVersion, At: timeOf(network.GetAt()), UDP: network.GetUdp(), IPv4: network.GetIpv4(), IPv6: network.GetIpv6(),
		PublicIPv4: network.GetPublicIpv4(), PublicIPv6: network.GetPublicIpv6(), NAT: natOf(network),
		PortMapping: network.PortMapping, CaptivePortal: network.CaptivePortal, Endpoints: append([]string{}, network.GetEndpoints()...),
		HomeRelay: relayOf(in.GetStatus().GetHomeRelay()), RelayError: in.GetRelayError(),
		Relays: []relayJSON{}, Proxies: []proxyJSON{}, VPNs: []vpnJSON{},
	}
	if !in.GetRelayAsked() {
		out.RelayError = "no relay is known"
	}
	for _, relay := range network.GetRelays() {
		out.Relays = append(out.Relays, *relayOf(relay))
	}
	for _, one := range []struct {
		of    string
		proxy doctor.Proxy
	}{{"daemon", proxies.Service}, {"shell", proxies.User}} {
		if one.proxy.Variable != "" {
			proxy := proxyJSON{Of: one.of, Variable: one.proxy.Variable, Address: one.proxy.Value}
			if one.proxy.Err != nil {
				proxy.Error = one.proxy.Err.Error()
			}
			out.Proxies = append(out.Proxies, proxy)
		}
	}
	for _, vpn := range vpns {
		out.VPNs = append(out.VPNs, vpnJSON{vpn.Interface, vpn.Maker})
	}
	return out
}

// natOf is how the NAT behaves, as far as it can be told from outside.
func natOf(network *localv1.NetworkReport) string {
	switch {
	case network.MappingVaries == nil:
		return "unknown"
	case network.GetMappingVaries():
		return "hard"
	}
	return "easy"
}

func (a *app) printNetcheck(out netcheckJSON) error {
	table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	line := func(what, how, source string) { fmt.Fprintf(table, "%s\t%s\t(%s)\n", what, printable(how), source) }
	yes := func(value bool) string {
		if value {
			return "yes"
		}
		return "no"
	}
	maybe := func(value *bool) string {
		if value == nil {
			return "not known"
		}
		return yes(*value)
	}
	line("UDP", yes(out.UDP), "the daemon: a STUN server's answer")
	line("IPv4", yes(out.IPv4)+suffixed(", seen as ", out.PublicIPv4), "the same")
	line("IPv6", yes(out.IPv6)+suffixed(", seen as ", out.PublicIPv6), "the same")
	line("NAT", map[string]string{
		"easy": "easy: the same port for every destination", "hard": "hard: another port for each destination", "unknown": "not known",
	}[out.NAT], "the daemon: answers of several STUN servers compared")
	line("port mapping", maybe(out.PortMapping), "the daemon: UPnP, NAT-PMP and PCP of the router")
	line("captive portal", maybe(out.CaptivePortal), "the daemon: a page that is known")
	line("reached at", dash(strings.Join(out.Endpoints, " ")), "the daemon: what agents are told")
	what := "relays"
	for _, relay := range out.Relays {
		how := dash(relay.Name) + ", not measured"
		if relay.LatencyMS != nil {
			how = dash(relay.Name) + " " + short(time.Duration(*relay.LatencyMS*float64(time.Millisecond)))
		}
		if out.HomeRelay != nil && out.HomeRelay.RegionID == relay.RegionID {
			how += ", home" + suffixed(": ", out.RelayError)
		}
		line(what, how, "the daemon: measured")
		what = ""
	}
	if len(out.Relays) == 0 {
		line(what, "none", "the deployment")
	}
	for _, proxy := range out.Proxies {
		line("proxy", proxy.Address+suffixed(": ", proxy.Error), proxy.Variable+" of the "+proxy.Of)
	}
	if len(out.Proxies) == 0 {
		line("proxy", "none", "variables of the daemon and of this shell")
	}
	for _, vpn := range out.VPNs {
		line("other VPN", vpn.Interface+": "+vpn.Maker, "the name of an interface")
	}
	if len(out.VPNs) == 0 {
		line("other VPNs", "none", "names of interfaces")
	}
	return table.Flush()
}
