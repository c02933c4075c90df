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
	gendocs.Main(cli.Root(cli.Env{LookupEnv: os.LookupEnv, Version: version.Version}), "1")
}
