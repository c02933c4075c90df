package sshd

import (
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// TestNumbers are the protocol's (5.3), which clients and scripts know.
func TestNumbers(t *testing.T) {
	if statusSetup != 229 || statusTransfer != 65 || statusUnknown != 255 || statusFailed != 1 {
		t.Errorf("statuses %d, %d, %d, %d", statusSetup, statusTransfer, statusUnknown, statusFailed)
	}
	if displayBase+firstDisplay != 6010 || displayBase+lastDisplay != 6200 || evictions != 10 {
		t.Errorf("displays from port %d to %d, %d of which are tried", displayBase+firstDisplay, displayBase+lastDisplay, evictions)
	}
	if keepAlives != 3 || leastKeepAlive != 3*time.Second {
		t.Errorf("%d questions, from %s on", keepAlives, leastKeepAlive)
	}
}

// TestMarksOfJetBrains: each of the three is enough (5.3).
func TestMarksOfJetBrains(t *testing.T) {
	for _, line := range []string{
		"/opt/jbr/bin/java -Didea.vendor.name=JetBrains -Xmx2g", "java -cp x com.jetbrains.toolbox.Agent", "/home/x/.cache/ide/bin/remote-dev-server.sh run",
	} {
		if kind, known := kindOfCommand(line); !known || kind != agentv2.Connection_JETBRAINS {
			t.Errorf("%q: %v", line, kind)
		}
	}
}
