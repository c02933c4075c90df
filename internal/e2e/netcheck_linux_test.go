package e2e

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// clientAddr is how the internet sees the client, behind a router or not.
const clientAddr = "192.0.2.30"

// survey is what netcheck tells, as far as it is checked here.
type survey struct {
	UDP         bool     `json:"udp"`
	IPv4        bool     `json:"ipv4"`
	IPv6        bool     `json:"ipv6"`
	PublicIPv4  string   `json:"public_ipv4"`
	NAT         string   `json:"nat"`
	PortMapping *bool    `json:"port_mapping"`
	Endpoints   []string `json:"endpoints"`
	HomeRelay   *struct {
		Region int `json:"region_id"`
	} `json:"home_relay"`
	RelayError string `json:"home_relay_error"`
	Relays     []struct {
		Region  int      `json:"region_id"`
		Latency *float64 `json:"latency_ms"`
	} `json:"relays"`
	VPNs []struct {
		Interface string `json:"interface"`
	} `json:"vpns"`
}

// TestNetcheck holds what causeway netcheck says of a network to what that is.
func TestNetcheck(t *testing.T) {
	for name, cell := range map[string]struct {
		client  testnet.NAT
		blocked bool
		nat     string
		sample  bool
	}{
		"Public":     {client: testnet.Public, nat: "easy"},
		"EasyNAT":    {client: testnet.EasyNAT, nat: "easy"},
		"HardNAT":    {client: testnet.HardNAT, nat: "hard", sample: true},
		"UDPBlocked": {client: testnet.EasyNAT, blocked: true, nat: "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			needRig(t, cell.sample)
			stack := newStack(t, cell.client, testnet.Public)
			if cell.blocked {
				blockUDP(t, stack)
			}
			surveyed(t, stack)
			got := netcheck(t, stack, 0)
			expectSurvey(t, stack, got, cell.nat, !cell.blocked)
			// With nothing left it says so, and does not tell what was true before.
			must(t, stack.Net.Client.Cut(t.Context(), testnet.ServerAddr, testnet.RelayAddr))
			if got := netcheck(t, stack, 8); got.UDP || got.RelayError == "" {
				t.Errorf("cut off: %+v", got)
			}
			must(t, stack.Net.Client.Heal(t.Context()))
		})
	}
}

// surveyed brings a tunnel up that knows two STUN servers, without an agent, on
// a client that has another VPN.
func surveyed(t *testing.T, stack *rig.Stack) {
	t.Helper()
	ctx := within(t, time.Minute)
	host, err := stack.Net.AddHost(ctx, "relay", testnet.RelayAddr)
	must(t, err)
	must(t, stack.StartRelay(ctx, host))
	stack.ServerArgs = []string{"--stun-servers", testnet.RelayAddr + ":3478"}
	must(t, stack.StartServer(ctx))
	user, err := stack.AddUser(ctx, rig.Owner)
	must(t, err)
	// A VPN, and an interface of a virtual machine that is only named like one.
	_, err = stack.Net.Client.Shell(ctx, `ip link add wg-office type bridge; ip addr add 10.99.0.1/24 dev wg-office; ip link set wg-office up
ip link add tap7 type bridge; ip link set tap7 up`)
	must(t, err)
	must(t, stack.StartDaemon(ctx))
	must(t, stack.Login(ctx, user))
	_, err = stack.Causeway(ctx, "up", "--wait")
	must(t, err)
}

// unwrapped is what a command itself failed with.
func unwrapped(err error) error {
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		err = cause
	}
	return err
}

func netcheck(t *testing.T, stack *rig.Stack, code int) survey {
	t.Helper()
	began := time.Now()
	output, err := stack.Causeway(within(t, 30*time.Second), "netcheck", "--json")
	if got := exitCode(unwrapped(err)); got != code {
		t.Fatalf("netcheck exits with %d (%v), want %d: %s", got, err, code, output)
	}
	figure(t, "netcheck takes %.2f s", time.Since(began).Seconds())
	var out survey
	must(t, json.Unmarshal([]byte(output), &out))
	return out
}

func expectSurvey(t *testing.T, stack *rig.Stack, got survey, nat string, udp bool) {
	t.Helper()
	if got.UDP != udp || got.NAT != nat || got.IPv6 || got.RelayError != "" {
		t.Errorf("%+v; want UDP %v, NAT %s, no IPv6, a relay that answers", got, udp, nat)
	}
	if got.PortMapping != nil && *got.PortMapping {
		t.Error("a router that maps no ports is said to")
	}
	host, _, _ := strings.Cut(got.PublicIPv4, ":")
	if want := map[bool]string{true: clientAddr}[udp]; host != want {
		t.Errorf("seen as %q, want %q", host, want)
	}
	if udp && !strings.Contains(strings.Join(got.Endpoints, " "), clientAddr+":") {
		t.Errorf("reached at %v", got.Endpoints)
	}
	if got.HomeRelay == nil || len(got.Relays) != 1 || got.Relays[0].Region != got.HomeRelay.Region || got.Relays[0].Latency == nil {
		t.Errorf("relays %+v, home %+v", got.Relays, got.HomeRelay)
	}
	if len(got.VPNs) != 1 || got.VPNs[0].Interface != "wg-office" {
		t.Errorf("other VPNs %+v", got.VPNs)
	}
	text, err := stack.Causeway(within(t, 30*time.Second), "netcheck")
	must(t, err)
	if !strings.Contains(text, "wg-office") {
		t.Errorf("it says\n%s", text)
	}
	t.Log(text)
}
