// This program must not compile: WorkspaceUpdates came with 2.3.
package main

import (
	"context"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func main() {
	var client tailnetv2.Client20
	_, _ = client.WorkspaceUpdates(context.Background(), nil)
}
