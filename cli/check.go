package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// checks are the questions of causeway status --check.
var checks = []string{"live", "ready", "dns", "peers"}

type statusCheckJSON struct {
	Version int    `json:"version"`
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Code    int    `json:"exit_code"`
	Cause   string `json:"cause"`
	Remedy  string `json:"remedy"`
}

// check answers one question by a line and the exit code.
func (a *app) check(ctx context.Context, flags statusFlags) error {
	err := a.judge(ctx, flags)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	out := statusCheckJSON{Version: jsonVersion, Check: flags.check, OK: err == nil}
	if err != nil {
		out.Code, out.Cause = int(localapi.CodeGeneric), err.Error()
		var known *localapi.Error
		if errors.As(err, &known) {
			out.Code, out.Remedy = int(known.Code), known.Remedy
		}
	}
	switch {
	case flags.json:
		if err := writeJSON(a.env.Stdout, out); err != nil {
			return err
		}
	case out.OK:
		fmt.Fprintf(a.env.Stdout, "%s: ok\n", out.Check)
	default:
		fmt.Fprintf(a.env.Stdout, "%s: no: %s\n", out.Check, printable(strings.TrimPrefix(out.Cause, out.Check+": ")))
		if out.Remedy != "" {
			fmt.Fprintf(a.env.Stdout, "  remedy: %s\n", printable(out.Remedy))
		}
	}
	if out.Code != 0 {
		return &silentError{localapi.Code(out.Code)}
	}
	return nil
}

// judge is why the answer is no, or nil.
func (a *app) judge(ctx context.Context, flags statusFlags) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if flags.check == "live" {
		return nil
	}
	status, err := a.askStatus(ctx, client)
	if err != nil {
		return err
	}
	summary := status.GetView() == localv1.View_SUMMARY
	connected := status.GetState() == localv1.State_CONNECTED
	switch flags.check {
	case "dns":
		switch {
		case connected || status.GetCanaryOk():
			return nil
		case summary:
			return notYours(status, "dns")
		}
	case "peers":
		if summary {
			return notYours(status, "peers")
		}
		return judgePeers(flags, status)
	}
	if connected {
		return nil
	}
	failed := notWorking(status, flags.check)
	var known *localapi.Error
	if errors.As(failed, &known) && known.Code == 0 {
		known.Code = localapi.CodeDegraded // down as wanted is not ready
	}
	return failed
}

func judgePeers(flags statusFlags, status *localv1.Status) error {
	known := len(status.GetAgents())
	agents := sorted(flags.filter(status).GetAgents())
	if len(agents) == 0 && (known > 0 || flags.workspace != "") {
		return &localapi.Error{Code: localapi.CodeNotFound, Cause: "peers: no agent is as asked for", Remedy: "see: causeway status"}
	}
	if known == 0 && status.GetState() != localv1.State_CONNECTED {
		return notWorking(status, "peers")
	}
	var silent []string
	for _, agent := range agents {
		switch {
		case !agent.GetTried() || agent.GetReachable():
		case agent.GetOffline() && idle(agent): // its workspace was stopped
		case agent.GetOffline():
			silent = append(silent, agentName(agent)+" (offline)")
		default:
			silent = append(silent, agentName(agent))
		}
	}
	if len(silent) == 0 {
		return nil
	}
	return &localapi.Error{
		Code: localapi.CodeDegraded, Cause: fmt.Sprintf("peers: %s in use does not answer: %s", count(len(silent), "agent"), strings.Join(silent, ", ")),
		Remedy: "see that the workspaces run: causeway list",
	}
}
