// Command images builds root file systems for test hosts.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/causewayhq/causeway/internal/testnet"
)

// main builds the flavours that are named, if they are not there yet: minutes,
// once for a machine. The rigs do that themselves; this is to be run beside
// something else before them.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, flavour := range os.Args[1:] {
		if err := testnet.BuildSystem(ctx, testnet.Flavour(flavour), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "images:", err)
			os.Exit(1)
		}
	}
}
