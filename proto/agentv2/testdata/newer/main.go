// This program must not compile: ScriptCompleted came with 2.3.
package main

import (
	"context"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func main() {
	var client agentv2.Client20
	_, _ = client.ScriptCompleted(context.Background(), nil)
}
