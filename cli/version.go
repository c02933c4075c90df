package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/proto/localv1"
)

type versionJSON struct {
	Version  int         `json:"version"`
	Causeway string      `json:"causeway"`
	Go       string      `json:"go"`
	Platform string      `json:"platform"`
	Daemon   *daemonJSON `json:"daemon"` // null: not asked for
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
	command.Flags().BoolVar(&daemon, "daemon", false, "ask the daemon for its version too")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		out := versionJSON{Version: jsonVersion, Causeway: a.env.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
		if daemon {
			client, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			answer, err := call(cmd.Context(), a, answerLimit, client.GetVersion, &localv1.GetVersionRequest{})
			if err != nil {
				return err
			}
			out.Daemon = &daemonJSON{answer.GetVersion(), answer.GetApi()}
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
