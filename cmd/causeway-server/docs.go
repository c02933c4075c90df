//go:build docs

package main

import (
	"os"

	"github.com/causewayhq/causeway/internal/gendocs"
)

// With this tag the program writes its documentation and does nothing else.
func init() {
	root := (&app{environment: os.LookupEnv, fromVariable: map[string]bool{}}).root()
	// It depends on who builds the packages.
	root.PersistentFlags().Lookup("data-dir").DefValue = "root: /var/lib/causeway-server, others: below ~/.local/share"
	run, _, err := root.Find([]string{"run"})
	if err != nil {
		panic(err)
	}
	gendocs.Main(root, "8", gendocs.File{Name: "server.env", Text: gendocs.Environment(run, "causeway-server", envName)})
}
