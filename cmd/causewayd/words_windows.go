package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// sudo is no command here; a terminal that was opened as administrator is.
const sudo = "(as administrator) "

// inWordsOfThisSystem takes out of the help what there is on other systems.
func inWordsOfThisSystem(command *cobra.Command) {
	command.Example = strings.ReplaceAll(command.Example, "sudo ", "")
	command.Long = strings.ReplaceAll(command.Long, "sudo ", "")
	for _, sub := range command.Commands() {
		inWordsOfThisSystem(sub)
	}
}
