package tunnel

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/control"
)

func TestDecide(t *testing.T) {
	well := func(f *facts) {
		f.phase, f.names = phaseRunning, true
		f.control.connected, f.control.ever = true, true
		f.applied.done, f.canary.done, f.canary.ok = true, true, true
	}
	no := errors.New("no")
	tests := []struct {
		name  string
		facts func(*facts)
		state State
		code  string // of the first problem
	}{
		{"zero", func(*facts) {}, Stopped, ""},
		{"just begun", func(f *facts) { f.phase = phaseRunning }, Starting, ""},
		{"well", well, Connected, ""},
		{"no names, control plane away", func(f *facts) { f.phase = phaseRunning; f.control.err = no }, Starting, CodeUnreachable},
		{"no names, signed out", func(f *facts) { f.phase = phaseRunning; f.control.err = &client.Error{Status: 401} }, Failed, CodeSignedOut},
		{"names from disk, nothing measured", func(f *facts) { f.phase = phaseRunning; f.names = true }, Starting, ""},
		{"names from disk, control plane away", func(f *facts) { well(f); f.control.connected, f.control.ever = false, false; f.control.err = no }, Degraded, CodeUnreachable},
		{"one connection ended", func(f *facts) { well(f); f.control.connected = false; f.control.err = no; f.control.attempts = 3 }, Connected, ""},
		{"and the grace is over", func(f *facts) { well(f); f.control.connected = false; f.control.err = no; f.control.late = true }, Degraded, CodeUnreachable},
		{"token refused later", func(f *facts) {
			well(f)
			f.control.connected = false
			f.control.err = fmt.Errorf("x: %w", control.ErrSignedOut)
		}, Degraded, CodeSignedOut},
		{"the control plane said why it went", func(f *facts) { well(f); f.control.told = no }, Connected, CodeUnreachable},
		{"names from disk, still trying", func(f *facts) { well(f); f.control.connected, f.control.ever, f.control.late = false, false, true }, Degraded, CodeUnreachable},
		{"home relay away", func(f *facts) { well(f); f.relay.away = true }, Degraded, CodeRelay},
		{"the device goes again and again", func(f *facts) { well(f); f.lost = no }, Degraded, CodeDevice},
		{"host refuses", func(f *facts) { well(f); f.applied.err = no }, Degraded, CodeHost},
		{"host in trouble", func(f *facts) { well(f); f.trouble = no }, Degraded, CodeHost},
		{"canary not yet", func(f *facts) { well(f); f.canary.done, f.canary.ok = false, false }, Starting, ""},
		{"canary dead", func(f *facts) { well(f); f.canary.ok = false; f.canary.err = no }, Degraded, CodeNames},
		{"name left out", func(f *facts) { well(f); f.leftOut = []error{no} }, Connected, CodeLeftOut},
		{"a direct path is too small", func(f *facts) { well(f); f.agents.small = []smallPath{{"main.myws", 1300}} }, Connected, CodePathMTU},
		{"one agent of two is silent", func(f *facts) { well(f); f.agents = agentFacts{answering: 1, silent: []string{"main.myws"}} }, Connected, CodeSilent},
		{"no agent answers", func(f *facts) { well(f); f.agents = agentFacts{silent: []string{"main.myws"}} }, Degraded, CodeSilent},
		{"disk full", func(f *facts) { well(f); f.saveErr = no }, Degraded, CodeState},
		{"stopping", func(f *facts) { well(f); f.phase = phaseStopping }, Stopping, ""},
		{"ended by an error", func(f *facts) { f.fatal = no }, Failed, CodeStopped},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var f facts
			test.facts(&f)
			state, problems := f.decide(time.Now())
			code := ""
			if len(problems) > 0 {
				code = problems[0].Code
			}
			if state != test.state || code != test.code {
				t.Errorf("got %s %q, want %s %q", state, code, test.state, test.code)
			}
			for _, problem := range problems {
				if problem.Cause == "" || problem.Remedy == "" {
					t.Errorf("problem without cause or remedy: %+v", problem)
				}
			}
		})
	}
}

func TestControlProblems(t *testing.T) {
	tests := []struct {
		err  error
		code string
	}{
		{errors.New("connection refused"), CodeUnreachable},
		{&net.DNSError{Err: "no such host", Name: "plane.test"}, CodeUnreachable},
		{fmt.Errorf("dial: %w", x509.UnknownAuthorityError{}), CodeCertificate},
		{fmt.Errorf("dial: %w", client.ErrCertificate), CodeCertificate},
		{fmt.Errorf("get: %w", client.ErrNotControlPlane), CodeNotPlane},
		{&control.DialError{Status: 400, Validations: []control.Validation{{Field: "version"}}}, CodeVersion},
		{&control.DialError{Status: 409}, CodeRejected},
		{&control.DialError{Status: 503}, CodeUnreachable},
		{&control.DialError{Status: 401}, CodeSignedOut},
		{&client.Error{Status: 403}, CodeRejected},
		{&client.Error{Status: 500}, CodeUnreachable},
	}
	for _, test := range tests {
		if got := controlProblem(test.err); got.Code != test.code {
			t.Errorf("%v: %s, want %s", test.err, got.Code, test.code)
		}
	}
}

// A proxy that takes no connections is what the remedy is about, at the first
// try and after a connection.
func TestProxyProblem(t *testing.T) {
	refused := &control.ProxyError{Proxy: "http://127.0.0.1:9", Err: errors.New("connection refused")}
	for _, err := range []error{
		fmt.Errorf("dial: %w", refused),
		fmt.Errorf("get: %w", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.DNSError{Name: "proxy.test"}}),
	} {
		for _, ever := range []bool{false, true} {
			problem := controlFacts{ever: ever, late: true, err: err}.problem(time.Now(), true)
			if problem.Code != CodeUnreachable || !strings.Contains(problem.Cause, "proxy") || !strings.Contains(problem.Remedy, "HTTPS_PROXY") {
				t.Errorf("problem %+v", problem)
			}
		}
	}
}

func TestStateNames(t *testing.T) {
	seen := map[string]bool{}
	for s := Stopped; s <= Stopping; s++ {
		if s.String() == "unknown" || seen[s.String()] {
			t.Errorf("state %d is called %q", int(s), s)
		}
		seen[s.String()] = true
	}
}
