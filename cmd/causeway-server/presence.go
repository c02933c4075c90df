package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/store"
)

// presenceLimit is how long a list waits for the running server, which alone
// knows who is connected.
const presenceLimit = 2 * time.Second

// presence is who is connected now, or why that is not known.
type presence struct {
	connected map[uuid.UUID]bool
	silent    error
	// remedy is for people, "" where there is none to name.
	remedy string
}

// askPresence asks the running server. What is in the database can be shown
// without its answer.
func (a *app) askPresence(ctx context.Context, opened *store.Store) presence {
	ctx, cancel := context.WithTimeout(ctx, presenceLimit)
	defer cancel()
	target, err := opened.Setting(ctx, store.SettingAccessURL)
	start := "start it: " + a.self() + " run"
	if err == nil && target == "" {
		return presence{silent: errors.New("the server has never run here"), remedy: start}
	}
	var found coordinator.Snapshot
	if err == nil {
		err = askAsAdmin(ctx, opened, target+"/api/v2/debug/coordinator", &found)
	}
	// What it says goes for commands that can be given another URL.
	var unanswered *healthError
	if errors.As(err, &unanswered) {
		known := presence{silent: fmt.Errorf("no server answers at %s (%w)", target, shortCause(unanswered.cause))}
		if errors.Is(err, syscall.ECONNREFUSED) { // else one may run, and be busy or elsewhere
			known.remedy = start
		}
		return known
	}
	if err != nil {
		return presence{silent: err}
	}
	connected := map[uuid.UUID]bool{}
	for _, peer := range found.Peers {
		connected[peer.ID] = true
	}
	return presence{connected: connected}
}

// of is whether an agent is connected, nil for not known.
func (p presence) of(agent uuid.UUID) *bool {
	if p.silent != nil {
		return nil
	}
	connected := p.connected[agent]
	return &connected
}

func (p presence) note() string {
	note := "Who is connected is not known: " + printable(p.silent.Error())
	if p.remedy != "" {
		note += "; " + p.remedy
	}
	return note
}

// shortCause is what went wrong with a request, without what was asked of whom.
func shortCause(err error) error {
	var call *os.SyscallError
	var request *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("not within %s", presenceLimit)
	case errors.As(err, &call):
		return call.Err
	case errors.As(err, &request):
		return request.Err
	}
	return err
}

func yesNo(known *bool) string {
	switch {
	case known == nil:
		return "not known"
	case *known:
		return "yes"
	default:
		return "no"
	}
}

// listedAgent says of an agent whether it is connected too; null for not known.
type listedAgent struct {
	agentOutput
	Connected *bool `json:"connected"`
}

func (a *app) agentList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list [USER]", Short: "List agents, and which of them are connected", Args: cobra.MaximumNArgs(1),
		Long: `List agents, and which of them are connected: that the running server says.`,
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				agents, err := a.listAgents(command.Context(), opened, args)
				if err != nil {
					return err
				}
				var now presence
				if len(agents) > 0 {
					now = a.askPresence(command.Context(), opened)
				}
				list, rows := []listedAgent{}, [][]string{}
				for _, agent := range agents {
					connected := now.of(agent.ID)
					list = append(list, listedAgent{describeAgent(agent), connected})
					rows = append(rows, []string{agent.Path(), yesNo(connected), moment(agent.CreatedAt), moment(agent.FirstConnectedAt), agent.ID.String()})
				}
				if a.asJSON {
					return a.printJSON(map[string]any{"agents": list})
				}
				if err := a.printTable([]string{"AGENT", "CONNECTED", "CREATED", "FIRST CONNECTED", "ID"}, rows); err != nil || now.silent == nil {
					return err
				}
				return a.print("", now.note())
			})
		},
	})
}
