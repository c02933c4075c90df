// Command causeway tells the daemon what the user wants and shows what it does.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/causewayhq/causeway/cli"
	"github.com/causewayhq/causeway/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, cli.Env{
		Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		LookupEnv: os.LookupEnv, Version: version.Version,
	})
	stop()
	os.Exit(code)
}
