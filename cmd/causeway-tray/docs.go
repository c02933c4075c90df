//go:build docs

package main

import (
	"io"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/internal/gendocs"
)

// With this tag the program writes its documentation and does nothing else.
func init() {
	root := (&program{stdout: io.Discard, stderr: io.Discard}).command()
	root.Flags().Lookup("socket").DefValue = config.DefaultSocket
	gendocs.Main(root, "1")
}
