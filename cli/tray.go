package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

const trayMissing = "install the package causeway-tray; in a terminal, causeway status --watch shows the same"

func (a *app) tray() *cobra.Command {
	return &cobra.Command{
		Use: "tray [argument]...", Short: "Run the tray app, which shows the state and has a menu",
		Long: `Run causeway-tray, which is installed beside this program, with these arguments.
What it takes is shown by: causeway-tray --help`,
		Example: `  causeway tray
  causeway tray --install-autostart   # start it at login from now on`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, words []string) error {
			if slices.Contains(words, "--help") || slices.Contains(words, "-h") {
				return cmd.Help()
			}
			path, err := beside(trayProgram, trayMissing)
			if err != nil {
				return err
			}
			return execute(path, append([]string{path}, words...))
		},
	}
}
