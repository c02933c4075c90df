package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/cli/doctor"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/localv1"
)

// patient is a host of facts; a repair makes it well.
type patient struct {
	facts doctor.Facts
	fails error
}

func (p *patient) Daemon(context.Context) doctor.Daemon                  { return p.facts.Daemon }
func (p *patient) Tunnel(context.Context) doctor.Tunnel                  { return p.facts.Tunnel }
func (p *patient) Proxies(context.Context, doctor.Tunnel) doctor.Proxies { return p.facts.Proxies }
func (p *patient) Host(context.Context, doctor.Tunnel) doctor.Host       { return p.facts.Host }
func (p *patient) Passage(context.Context, doctor.Tunnel) doctor.Passage { return p.facts.Passage }
func (p *patient) Names(context.Context, doctor.Tunnel) doctor.Names     { return p.facts.Names }
func (p *patient) Agents(context.Context, doctor.Tunnel) doctor.Agents   { return p.facts.Agents }
func (p *patient) Complaints(_ context.Context, tunnel doctor.Tunnel) []*localv1.Problem {
	return tunnel.Status.GetProblems()
}
func (p *patient) Settle(context.Context)           {}
func (p *patient) Start(context.Context) error      { return p.mend() }
func (p *patient) Restart(context.Context) error    { return p.mend() }
func (p *patient) OpenSocket(context.Context) error { return p.mend() }
func (p *patient) Apply(context.Context) error      { return p.mend() }
func (p *patient) Cycle(context.Context) error      { return p.mend() }
func (p *patient) Control(context.Context, doctor.Tunnel, doctor.Proxies) doctor.Control {
	return p.facts.Control
}

func (p *patient) mend() error {
	if p.fails == nil {
		p.facts = wellFacts()
	}
	return p.fails
}

func wellFacts() doctor.Facts {
	return doctor.Facts{
		Daemon: doctor.Daemon{
			Socket:  doctor.Socket{Path: "/run/causeway/causeway.sock", Exists: true, Mode: 0o666},
			Version: "v1.2.3", OwnVersion: "v1.2.3", API: 1, OwnAPI: 1,
		},
		Tunnel:  doctor.Tunnel{Status: fakeStatus("connected"), RelayAsked: true, Sentinel: "sentinel.coder"},
		Control: doctor.Control{Asked: true, HTTP: 200, Connected: true, Date: time.Unix(1700000000, 0)},
		Host:    doctor.Host{Interface: "causeway0", Exists: true, Up: true, Addressed: true, OwnRoute: true, Asked: 4},
		Passage: doctor.Passage{Asked: true},
		Names: doctor.Names{
			Mode: "resolved", Libc: doctor.Lookup{Asked: true, Right: true}, Direct: doctor.Lookup{Asked: true, Right: true},
			ResolvConf: doctor.ResolvConf{Servers: []netip.Addr{netip.MustParseAddr("127.0.0.53")}},
			Resolved:   doctor.Resolved{Servers: []netip.Addr{proto.DNSAddr}, Domains: []string{"~coder"}, LinkTLS: "no", GlobalTLS: "no"},
		},
		Agents: doctor.Agents{Asked: []doctor.Ping{{Name: "myws.coder", Direct: true}}},
	}
}

// TestDoctorOutput holds what people and programs read (testdata/doctor). Run
// with UPDATE_GOLDEN=1 to write the files anew.
func TestDoctorOutput(t *testing.T) {
	shadow := func(f *doctor.Facts) {
		f.Host.Astray = []doctor.Route{{To: proto.DNSAddr, Interface: "tun7", Prefix: "fd60:627a:a42b::/64", Program: "openvpn\x1b[2J (process 7)"}}
	}
	reverted := func(f *doctor.Facts) { f.Names.Resolved.Servers, f.Names.Resolved.Domains = nil, nil }
	for name, test := range map[string]struct {
		broken func(*doctor.Facts)
		fails  error
		args   []string
		code   int
	}{
		"healthy":      {func(*doctor.Facts) {}, nil, nil, 0},
		"healthy-json": {func(*doctor.Facts) {}, nil, []string{"--json"}, 0},
		"healthy-fix":  {func(*doctor.Facts) {}, nil, []string{"--fix"}, 0},
		"shadowed":     {shadow, nil, nil, 8},
		"shadowed-fix": {shadow, nil, []string{"--fix"}, 8},
		"reverted":     {reverted, nil, nil, 8},
		"mended":       {reverted, nil, []string{"--fix"}, 0},
		"mended-json":  {reverted, nil, []string{"--fix", "--json"}, 0},
		"not-mended":   {reverted, errors.New("call the daemon: it ended the connection"), []string{"--fix"}, 8},
		"silent": {func(f *doctor.Facts) {
			f.Tunnel.Status = &localv1.Status{State: localv1.State_DOWN, Url: "https://coder.example.com", User: "alice"}
		}, nil, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			host := &patient{facts: wellFacts(), fails: test.fails}
			test.broken(&host.facts)
			var stdout, stderr output
			code := Main(t.Context(), Env{
				Args: append([]string{"causeway", "doctor"}, test.args...), Stdin: strings.NewReader(""),
				Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv, Version: "v1.2.3", Doctor: host,
			})
			if code != test.code || stderr.String() != "" {
				t.Errorf("exit code %d, want %d; %s", code, test.code, stderr.String())
			}
			golden(t, filepath.Join("testdata", "doctor", name), stdout.String())
			if strings.HasSuffix(name, "-json") {
				fitsSchema(t, "doctor", stdout.String())
			}
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s: %v\ngot:\n%s\nwant:\n%s", path, err, got, want)
	}
}

func fitsSchema(t *testing.T, name, text string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("schema", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	var value any
	if err := errors.Join(json.Unmarshal(data, &schema), json.Unmarshal([]byte(text), &value)); err != nil {
		t.Fatal(err)
	}
	if err := conforms(schema, schema, value, "$"); err != nil {
		t.Error(err)
	}
}

func TestWrap(t *testing.T) {
	if got := wrap("one two three four five six", 4, 24); got != "one two three four\n    five six" {
		t.Errorf("wrap() = %q", got)
	}
	if got := wrap("averyveryverylongword that is alone", 0, 20); got != "averyveryverylongword\nthat is alone" {
		t.Errorf("wrap() = %q", got)
	}
	if got := wrap("too narrow for it", 30, 40); got != "too narrow for it" {
		t.Errorf("wrap() = %q", got)
	}
}
