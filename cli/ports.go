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
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

const (
	// portsLimit is past what an agent gives itself for an answer.
	portsLimit = 25 * time.Second
	// portsMost is past an answer with every port there is.
	portsMost = 16 << 20
)

type portsJSON struct {
	Version int        `json:"version"`
	Name    string     `json:"name"` // by which the ports are reached
	Address string     `json:"address"`
	Ports   []portJSON `json:"ports"`
}

type portJSON struct {
	Port    uint16 `json:"port"`
	Network string `json:"network"`
	Process string `json:"process_name"`
}

func (a *app) ports() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "ports <name>", Short: "List the ports on which programs of a workspace listen", Args: args(1, 1, "the name of an agent"),
		Long: `List the TCP ports on which programs of a workspace listen, as its agent tells.
Each is reached at the agent's name, without a forward. Ports of usual services
such as SSH and databases are left out, and those of which the agent's user may
not see the program have none.

Exits with 6 if the agent does not answer.`,
		Example: `  causeway ports myws
  causeway ports main.web --json | jq .ports[].port`,
		ValidArgsFunction: a.completeNames,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/ports.json)")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		port, err := a.reach(cmd.Context(), args[0], "list the ports of", agentHTTPPort)
		if err != nil {
			return err
		}
		done := a.sayWhenSlow("asking the agent ...")
		found, err := port.listeningPorts(cmd.Context())
		done()
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(a.env.Stdout, portsJSON{Version: jsonVersion, Name: agentName(port.agent), Address: port.addr.String(), Ports: found})
		}
		return a.printPorts(agentName(port.agent), found)
	}
	return command
}

// listeningPorts asks the agent.
func (p *agentPort) listeningPorts(ctx context.Context) ([]portJSON, error) {
	ctx, cancel := context.WithTimeout(ctx, portsLimit)
	defer cancel()
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
		DisableKeepAlives: true, Proxy: nil, // the tunnel is the way there
	}
	url := "http://" + netip.AddrPortFrom(p.addr, p.port).String() + "/api/v0/listening-ports"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, p.failed(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, p.failed(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, p.failed(fmt.Errorf("the agent answers %q", response.Status))
	}
	answer := struct {
		Ports []portJSON `json:"ports"`
	}{Ports: []portJSON{}}
	body := io.LimitReader(response.Body, portsMost)
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return nil, p.failed(fmt.Errorf("read the agent's answer: %w", err))
	}
	return append([]portJSON{}, answer.Ports...), nil
}

func (a *app) printPorts(name string, ports []portJSON) error {
	if len(ports) == 0 {
		fmt.Fprintf(a.env.Stderr, "%s: no program listens\n", printable(name))
		return nil
	}
	table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PORT\tPROGRAM\tADDRESS")
	for _, port := range ports {
		fmt.Fprintf(table, "%d\t%s\t%s:%d\n", port.Port, dash(printable(port.Process)), printable(name), port.Port)
	}
	return table.Flush()
}
