//go:build docs

package main

import (
	"os"

	"github.com/causewayhq/causeway/cli"
	"github.com/causewayhq/causeway/internal/gendocs"
	"github.com/causewayhq/causeway/internal/version"
)

// With this tag the program writes its documentation and does nothing else.
func init() {
	root := cli.Root(cli.Env{LookupEnv: os.LookupEnv, Version: version.Version})
	root.Long += "\n\n" + cli.ExitCodes()
	gendocs.Main(root, "1")
}
