package tailnet

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestPrivilegedDependencies keeps upstream's network stack and its backend
// out of everything that the privileged daemon links.
func TestPrivilegedDependencies(t *testing.T) {
	for _, name := range []string{".", "./relaybridge"} {
		output, err := exec.Command("go", "list", "-deps", name).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", name, err)
		}
		deps := strings.Fields(string(output))
		if !slices.Contains(deps, "github.com/causewayhq/causeway/tailnet/relaybridge") {
			t.Fatalf("go list -deps %s does not even name relaybridge", name)
		}
		for _, forbidden := range []string{"tailscale.com/wgengine/netstack", "tailscale.com/ipn/ipnlocal"} {
			if slices.Contains(deps, forbidden) {
				t.Errorf("%s links %s", name, forbidden)
			}
		}
	}
}
