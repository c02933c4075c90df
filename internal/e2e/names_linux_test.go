package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// dig is what dig must print of an answer: status, flags, and the records of
// the answer and authority sections, TTL included.
type dig struct {
	args      string
	status    string
	answer    string // an address, or "" for none
	authority bool   // a SOA
}

// digTable is protocol.md 3.7, every name form and every negative case.
func digTable(addr, other string) []dig {
	const noError, nxDomain, refused = "NOERROR", "NXDOMAIN", "REFUSED"
	return []dig{
		{"main.myws.me.coder AAAA", noError, addr, false},
		{"main.myws.admin.coder AAAA", noError, addr, false},
		{"myws.coder AAAA", noError, addr, false},
		{"MAIN.MyWs.ME.Coder AAAA", noError, addr, false},
		{"main_agent-1.main-workspace.me.coder AAAA", noError, other, false},
		{"main_agent-1.main-workspace.admin.coder AAAA", noError, other, false},
		{"main-workspace.coder AAAA", noError, other, false},
		{"is.coder--connect--enabled--right--now.coder AAAA", noError, "fd60:627a:a42b::53", false},
		{"main.myws.me.coder ANY", noError, addr, false},
		{"main.myws.me.coder A", noError, "", true},
		{"main.myws.me.coder TXT", noError, "", true},
		{"main.myws.me.coder MX", noError, "", true},
		{"nothere.coder AAAA", nxDomain, "", true},
		{"other.myws.me.coder AAAA", nxDomain, "", true},
		{"main.myws.bob.coder AAAA", nxDomain, "", true},
		{"example.com AAAA", refused, "", false},
		{"coder.example AAAA", refused, "", false},
		{"hidden.onion AAAA", nxDomain, "", true},
		{"main.myws.me.coder CH TXT", refused, "", false},
		{"-x " + addr, noError, "myws.coder.", false},
		{"-x 2001:db8::1", refused, "", false},
	}
}

func (d dig) check(output string) error {
	if !strings.Contains(output, "status: "+d.status) {
		return fmt.Errorf("want status %s", d.status)
	}
	flags := "flags: qr aa rd ra ad;"
	if d.status != "REFUSED" && !strings.Contains(output, flags) {
		return fmt.Errorf("want %q", flags)
	}
	answers := section(output, "ANSWER SECTION")
	switch {
	case d.answer == "" && answers != "":
		return fmt.Errorf("want no answer")
	case d.answer != "" && (strings.Count(answers, "\n") != 1 || !strings.HasSuffix(strings.TrimSpace(answers), d.answer) || strings.Fields(answers)[1] != "2"):
		return fmt.Errorf("want the one answer %s with TTL 2, have %q", d.answer, answers)
	}
	if soa := strings.Contains(section(output, "AUTHORITY SECTION"), "SOA"); soa != d.authority {
		return fmt.Errorf("SOA is there: %v, want %v", soa, d.authority)
	}
	return nil
}

// section is the text of one section of dig's output.
func section(output, name string) string {
	_, after, _ := strings.Cut(output, ";; "+name+":\n")
	text, _, _ := strings.Cut(after, "\n\n")
	if text == "" {
		return ""
	}
	return text + "\n"
}

// secondWorkspace adds the names with hyphens and underscores, and returns
// their address once it is answered.
func secondWorkspace(t *testing.T, stack *rig.Stack) string {
	t.Helper()
	_, err := stack.AddAgent(t.Context(), rig.Owner, "main-workspace", "main_agent-1")
	must(t, err)
	return addressOf(t, stack, "main_agent-1.main-workspace.me.coder")
}

func addressOf(t *testing.T, stack *rig.Stack, name string) string {
	t.Helper()
	var addr string
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		output, err := stack.Client(t.Context(), "getent", "ahostsv6", name)
		addr = firstWord(output)
		return err
	}))
	if !strings.HasPrefix(addr, "fd60:627a:a42b:") {
		t.Fatalf("%s is %s, want an address of ours", name, addr)
	}
	return addr
}

// TestDig compares what dig prints, over UDP and over TCP, with a foreign
// wildcard listener on the host's port 53 in the way.
func TestDig(t *testing.T) {
	needRig(t, true)
	stack := newStack(t, testnet.Public, testnet.Public)
	wildcardListener(t, stack)
	upAndReach(t, stack)
	addr, other := addressOf(t, stack, rig.Name), secondWorkspace(t, stack)
	for _, transport := range []string{"+notcp", "+tcp"} {
		for _, edns := range []string{"+noedns", "+edns"} {
			for _, query := range digTable(addr, other) {
				args := append([]string{"@fd60:627a:a42b::53", transport, edns, "+tries=2", "+time=5"}, strings.Fields(query.args)...)
				output, err := stack.Client(within(t, 20*time.Second), "dig", args...)
				if err == nil {
					err = query.check(output)
				}
				if err != nil {
					t.Errorf("dig %s: %v\n%s", strings.Join(args, " "), err, output)
				}
			}
		}
	}
	for args, want := range map[string]string{
		"+edns=1 +noednsnegotiation main.myws.me.coder AAAA": "status: BADVERS",
		"+opcode=notify main.myws.me.coder AAAA":             "status: NOTIMP",
		"+norecurse main.myws.me.coder AAAA":                 "flags: qr aa ra ad;",
	} {
		output, err := stack.Client(within(t, 20*time.Second), "dig", append([]string{"@fd60:627a:a42b::53"}, strings.Fields(args)...)...)
		if err != nil || !strings.Contains(output, want) {
			t.Errorf("dig %s: %v, want %q in\n%s", args, err, want, output)
		}
	}
}

// wildcardListener takes port 53 of every address of the client and answers
// nothing.
func wildcardListener(t *testing.T, stack *rig.Stack) {
	t.Helper()
	for _, command := range [][]string{{"udp-echo", "[::]:53"}, {"tcp-sink", "[::]:53"}} {
		listener := stack.On(t.Context(), stack.Path("probe"), command...)
		ready, err := listener.StdoutPipe()
		must(t, err)
		must(t, listener.Start())
		t.Cleanup(func() { listener.Process.Kill(); listener.Wait() })
		var line string
		if _, err := fmt.Fscanln(ready, &line); err != nil {
			t.Fatalf("foreign listener on port 53: %v", err)
		}
	}
}

// TestSystemNames resolves through real systemd hosts, as applications do.
func TestSystemNames(t *testing.T) {
	for flavour, ways := range map[testnet.Flavour][][]string{
		// By the stub, by nss-resolve, and by whatever nsswitch.conf says.
		testnet.Resolved: {{"getent", "-s", "dns", "ahosts"}, {"getent", "-s", "resolve", "ahosts"}, {"getent", "ahosts"}},
		testnet.Plain:    {{"getent", "ahosts"}},
	} {
		t.Run(string(flavour), func(t *testing.T) {
			needRig(t, flavour == testnet.Resolved)
			must(t, testnet.BuildSystem(t.Context(), flavour, t.Output()))
			stack := newStack(t, testnet.EasyNAT, testnet.EasyNAT)
			system, err := testnet.Boot(within(t, 3*time.Minute), stack.Net.Client, flavour)
			must(t, err)
			must(t, stack.OnSystem(system))
			t.Cleanup(func() {
				stopOnSystem(t, stack)
				if err := system.Close(); err != nil {
					t.Error(err)
				}
			})
			resolvConf := "readlink /etc/resolv.conf; cat /etc/resolv.conf"
			before, err := system.Run(t.Context(), "sh", "-c", resolvConf)
			must(t, err)
			upAndReach(t, stack)
			secondWorkspace(t, stack)
			for _, way := range ways {
				for _, name := range []string{rig.Name, "main.myws.admin.coder", "myws.coder", "main_agent-1.main-workspace.admin.coder"} {
					must(t, rig.Eventually(within(t, 20*time.Second), func() error {
						output, err := stack.Client(t.Context(), way[0], append(way[1:], name)...)
						if err == nil && !strings.HasPrefix(output, "fd60:627a:a42b:") {
							err = fmt.Errorf("%v %s says %q", way, name, output)
						}
						return err
					}))
				}
				if output, err := stack.Client(t.Context(), way[0], append(way[1:], "nothere.coder")...); err == nil {
					t.Errorf("%v nothere.coder: found %q", way, output)
				}
			}
			output, err := ssh(within(t, 30*time.Second), stack, rig.Name, "hostname").Output()
			if err != nil || string(output) != "agent\n" {
				t.Errorf("ssh by name: %v %q", err, output)
			}
			after, err := system.Run(t.Context(), "sh", "-c", resolvConf)
			must(t, err)
			if before != after {
				t.Errorf("resolv.conf was touched:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

// stopOnSystem ends the daemon on a systemd host and waits for it: the process
// that the rig started is only the one that entered the host.
func stopOnSystem(t *testing.T, stack *rig.Stack) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := stack.On(ctx, "pkill", "-TERM", "-x", "causewayd").Run(); err != nil && exitCode(err) != 1 {
		t.Errorf("stop the daemon on the systemd host: %v", err)
	}
	err := rig.Eventually(ctx, func() error {
		if output, err := stack.Client(ctx, "pgrep", "-x", "causewayd"); err == nil {
			return fmt.Errorf("the daemon still runs: %s", output)
		}
		return nil
	})
	if err != nil {
		stack.On(context.Background(), "pkill", "-QUIT", "-x", "causewayd").Run()
		t.Errorf("stop the daemon on the systemd host: %v", err)
	}
}
