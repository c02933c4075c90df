//go:build docs

package main

import (
	"github.com/causewayhq/causeway/internal/gendocs"
)

// With this tag the program writes its documentation and does nothing else.
func init() {
	root := newRoot()
	run, _, err := root.Find([]string{"run"})
	if err != nil {
		panic(err)
	}
	// It depends on who builds the packages.
	run.Flags().Lookup("state-dir").DefValue = "~/.local/state/causeway-agent"
	gendocs.Main(root, "1")
}
