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
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
)

const (
	// terminalsLimit is past what an agent takes to answer, and to kill.
	terminalsLimit = 15 * time.Second
	// terminalsMost is past the answer with every terminal there can be.
	terminalsMost = 1 << 20
	terminalsPath = "/api/v0/terminals"
)

type terminalsJSON struct {
	Version   int            `json:"version"`
	Name      string         `json:"name"`
	Terminals []terminalJSON `json:"terminals"`
}

type terminalJSON struct {
	ID        uuid.UUID  `json:"id"`
	Command   string     `json:"command"`
	Started   time.Time  `json:"started_at"`
	Viewers   int        `json:"viewers"`
	IdleSince *time.Time `json:"idle_since"`
	Columns   int        `json:"columns"`
	Rows      int        `json:"rows"`
	Title     string     `json:"title"`
}

// short is enough of the id to name a terminal among few.
func (t terminalJSON) short() string { return t.ID.String()[:8] }

func (a *app) terminals() *cobra.Command {
	var asJSON bool
	var kill string
	command := &cobra.Command{
		Use: "terminals <name>", Short: "List the terminals of a workspace that can be attached to again", Args: args(1, 1, "the name of an agent"),
		Long: `List the terminals that causeway ssh --reconnect and the browser have opened in
a workspace, and that go on when their connections end. One that nobody watches
ends after five minutes, or what the workspace's agent was told; after a day where
the last connection broke off without being closed, as when a laptop sleeps. To
attach: causeway ssh --reconnect=ID NAME. The first digits of an ID are enough.`,
		Example: `  causeway terminals myws
  causeway terminals myws --kill 3f2a
  causeway terminals main.web --json | jq .terminals[].id`,
		ValidArgsFunction: a.completeNames,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/terminals.json)")
	command.Flags().StringVar(&kill, "kill", "", "end the terminal of this ID, with its programs")
	command.MarkFlagsMutuallyExclusive("json", "kill")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		port, err := a.reach(cmd.Context(), args[0], "list the terminals of", agentHTTPPort)
		if err != nil {
			return err
		}
		done := a.sayWhenSlow("asking the agent ...")
		found, err := port.terminals(cmd.Context())
		done()
		switch {
		case err != nil:
			return err
		case kill != "":
			return a.killTerminal(cmd.Context(), port, found, kill)
		case asJSON:
			return writeJSON(a.env.Stdout, terminalsJSON{Version: jsonVersion, Name: agentName(port.agent), Terminals: found})
		}
		return a.printTerminals(port, found)
	}
	return command
}

func (a *app) killTerminal(ctx context.Context, port *agentPort, found []terminalJSON, id string) error {
	one, err := terminalOf(found, id)
	if err != nil {
		return err
	}
	done := a.sayWhenSlow("waiting for its programs to end ...")
	err = port.killTerminal(ctx, one.ID)
	done()
	if err == nil {
		fmt.Fprintf(a.env.Stdout, "ended terminal %s of %s\n", one.short(), agentName(port.agent))
	}
	return err
}

func (a *app) printTerminals(port *agentPort, found []terminalJSON) error {
	if len(found) == 0 {
		fmt.Fprintf(a.env.Stderr, "%s: no terminals; for one, run: causeway ssh --reconnect %s\n", printable(agentName(port.agent)), quote(agentName(port.agent)))
		return nil
	}
	table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tAGE\tSIZE\tVIEWERS\tCOMMAND")
	for _, each := range found {
		fmt.Fprintln(table, strings.Join(a.terminalFields(each), "\t"))
	}
	return table.Flush()
}

// terminalFields are what people are shown of a terminal.
func (a *app) terminalFields(t terminalJSON) []string {
	command := t.Command
	if command == "" {
		command = "(shell)"
	}
	if t.Title != "" {
		command += "  " + t.Title
	}
	return []string{t.short(), span(max(0, a.now().Sub(t.Started))), fmt.Sprintf("%dx%d", t.Columns, t.Rows), fmt.Sprint(t.Viewers), printable(command)}
}

// terminalOf is the one that an id, or its first digits, means.
func terminalOf(found []terminalJSON, id string) (terminalJSON, error) {
	var matching []terminalJSON
	for _, each := range found {
		if id != "" && strings.HasPrefix(each.ID.String(), strings.ToLower(id)) {
			matching = append(matching, each)
		}
	}
	if len(matching) == 1 {
		return matching[0], nil
	}
	failed := &localapi.Error{Code: localapi.CodeNotFound, Cause: fmt.Sprintf("find terminal %q: there is none of that ID", id), Remedy: "see: causeway terminals <name>"}
	if len(matching) > 1 {
		failed.Cause = fmt.Sprintf("find terminal %q: %d terminals begin so", id, len(matching))
	}
	return terminalJSON{}, failed
}

// terminals asks the agent for them, the oldest first.
func (p *agentPort) terminals(ctx context.Context) ([]terminalJSON, error) {
	answer := struct {
		Terminals []terminalJSON `json:"terminals"`
	}{Terminals: []terminalJSON{}}
	err := p.ask(ctx, http.MethodGet, terminalsPath, func(status int, body io.Reader) error {
		if status != http.StatusOK {
			return fmt.Errorf("the agent answers %q", http.StatusText(status))
		}
		if err := json.NewDecoder(body).Decode(&answer); err != nil {
			return fmt.Errorf("read the agent's answer: %w", err)
		}
		return nil
	})
	slices.SortFunc(answer.Terminals, func(x, y terminalJSON) int { return x.Started.Compare(y.Started) })
	return append([]terminalJSON{}, answer.Terminals...), err
}

// killTerminal ends one; one that is gone is no error.
func (p *agentPort) killTerminal(ctx context.Context, id uuid.UUID) error {
	return p.ask(ctx, http.MethodDelete, terminalsPath+"/"+id.String(), func(status int, _ io.Reader) error {
		if status != http.StatusNoContent && status != http.StatusNotFound {
			return fmt.Errorf("end terminal %s: the agent answers %q", id, http.StatusText(status))
		}
		return nil
	})
}

// ask makes one request to the agent's HTTP API, of which take reads the answer.
func (p *agentPort) ask(ctx context.Context, method, path string, take func(status int, body io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, terminalsLimit)
	defer cancel()
	transport := &http.Transport{
		// By its own context a dial goes on when the request has been given up.
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return p.dial(ctx) },
		DisableKeepAlives: true, Proxy: nil, // the tunnel is the way there
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+netip.AddrPortFrom(p.addr, p.port).String()+path, nil)
	if err != nil {
		return p.failed(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return p.failed(err)
	}
	defer response.Body.Close()
	if err := take(response.StatusCode, io.LimitReader(response.Body, terminalsMost)); err != nil {
		return p.failed(errors.Join(ctx.Err(), err))
	}
	return nil
}
