package cli

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/proto/localv1"
)

type versionJSON struct {
	Version  int         `json:"version"`
	Causeway string      `json:"causeway"`
	Go       string      `json:"go"`
	Platform string      `json:"platform"`
	Daemon   *daemonJSON `json:"daemon"` // null: none answers
}

type daemonJSON struct {
	Causeway string `json:"causeway"`
	API      int32  `json:"api"`
}

// versionLine is what --version prints too.
func (a *app) versionLine() string {
	return fmt.Sprintf("causeway %s (%s/%s, %s)\n", a.env.Version, runtime.GOOS, runtime.GOARCH, runtime.Version())
}

func (a *app) version() *cobra.Command {
	var asJSON, daemon bool
	command := &cobra.Command{
		Use: "version", Short: "Show the version of this program and of the daemon", Args: args(0, 0, ""),
		Example: `  causeway version
  causeway version --daemon --json`,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/version.json)")
	command.Flags().BoolVar(&daemon, "daemon", false, "fail if the daemon cannot be asked, which is else left out")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		out := versionJSON{Version: jsonVersion, Causeway: a.env.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
		var err error
		if out.Daemon, err = a.daemonVersion(cmd.Context(), daemon); err != nil {
			return err
		}
		if asJSON {
			return writeJSON(a.env.Stdout, out)
		}
		fmt.Fprint(a.env.Stdout, a.versionLine())
		if out.Daemon != nil {
			fmt.Fprintf(a.env.Stdout, "causewayd %s (local API %d)\n", out.Daemon.Causeway, out.Daemon.API)
		}
		return nil
	}
	return command
}

// daemonVersion asks the daemon for its version. One that has to be there is
// waited for as in every command; else it is asked only if it is there.
func (a *app) daemonVersion(ctx context.Context, needed bool) (*daemonJSON, error) {
	limited := ctx
	if !needed {
		short, cancel := context.WithTimeout(ctx, versionLimit)
		defer cancel()
		limited = short
	}
	client, err := a.dial(limited)
	if err == nil {
		defer client.Close()
		var answer *localv1.GetVersionResponse
		if answer, err = call(limited, a, answerLimit, client.GetVersion, &localv1.GetVersionRequest{}); err == nil {
			return &daemonJSON{answer.GetVersion(), answer.GetApi()}, nil
		}
	}
	if !needed && ctx.Err() == nil {
		return nil, nil
	}
	return nil, err
}

// versionLimit is how long a daemon that need not be there may take.
const versionLimit = time.Second
