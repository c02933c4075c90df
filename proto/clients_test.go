package proto

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// The generated clients offer every RPC of the version that they are used for.
var (
	_ tailnetv2.Client20 = tailnetv2.DRPCTailnetClient(nil)
	_ tailnetv2.Client22 = tailnetv2.DRPCTailnetClient(nil)
	_ tailnetv2.Client23 = tailnetv2.DRPCTailnetClient(nil)
	_ agentv2.Client20   = agentv2.DRPCAgentClient(nil)
)

func TestNewerCallDoesNotCompile(t *testing.T) {
	for dir, method := range map[string]string{"tailnetv2": "WorkspaceUpdates", "agentv2": "ScriptCompleted"} {
		output, err := exec.CommandContext(t.Context(), "go", "build", "-o", t.TempDir(), "./"+dir+"/testdata/newer").CombinedOutput()
		if err == nil {
			t.Errorf("%s: a call of %s through Client20 compiles", dir, method)
		}
		if want := "client." + method + " undefined"; !strings.Contains(string(output), want) {
			t.Errorf("%s: build says\n%s\nwant %q", dir, output, want)
		}
	}
}
