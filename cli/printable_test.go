package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/proto/localv1"
)

// TestForeignTextsArePrintable holds that nothing that a control plane says
// reaches the terminal with control characters in it.
func TestForeignTextsArePrintable(t *testing.T) {
	const bad = "na\x1b[2Jme\n\x07\u009b"
	var out, errs bytes.Buffer
	a := &app{env: Env{Stdout: &out, Stderr: &errs, LookupEnv: func(string) (string, bool) { return "", false }}}
	status := &localv1.Status{
		State: localv1.State_DEGRADED, Url: "https://x", User: bad, Suffix: bad, Interface: "causeway0", DnsMode: bad,
		HomeRelay: &localv1.Relay{Name: bad}, Problems: []*localv1.Problem{{Code: "c", Cause: bad, Remedy: bad}},
		Agents: []*localv1.AgentStatus{{Name: bad, Workspace: bad, Names: []string{bad}, Path: localv1.AgentStatus_RELAYED, Relay: &localv1.Relay{Name: bad}}},
	}
	if err := a.show(status, false); err != nil {
		t.Fatal(err)
	}
	a.complain(bad, bad)
	if text := out.String() + errs.String(); strings.ContainsAny(text, "\x1b\x07\u009b") || !strings.Contains(text, "na [2Jme") {
		t.Errorf("shown: %q", text)
	}
	if status.GetUser() != bad {
		t.Error("the message itself was changed")
	}
}
