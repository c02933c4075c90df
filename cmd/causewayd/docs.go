//go:build docs

package main

import (
	"github.com/causewayhq/causeway/internal/gendocs"
)

// With this tag the program writes its documentation and does nothing else.
func init() {
	gendocs.Main(rootCommand(), "8", gendocs.SettingsFiles()...)
}
