// Command causeway-server is the control plane: users, workspaces and agents,
// the coordinator that introduces them to each other, and the relay for when
// they cannot reach each other directly.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	build "github.com/causewayhq/causeway/internal/version"
)

// version is what the build set, in a form that clients can compare.
var version = numbered(build.Version)

func numbered(set string) string {
	if set == "" || set == "dev" {
		return "v0.0.0-dev"
	}
	return set
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := &app{stdin: os.Stdin, stdout: stdout, stderr: stderr, environment: os.LookupEnv, fromVariable: map[string]bool{}, args: args}
	root := app.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	err = app.blame(err)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "causeway-server: %s\n", describe(err, command.CommandPath()))
	return exitCode(err)
}
