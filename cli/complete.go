package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/proto/localv1"
)

// completeLimit is how long the shell is kept waiting for names. Without an
// answer it offers none.
const completeLimit = time.Second

// lister makes words of the status for the shell to offer.
type lister func(*localv1.Status) []string

// known asks the daemon for the words; nil if it does not tell in time.
func (a *app) known(ctx context.Context, words lister) []string {
	ctx, cancel := context.WithTimeout(ctx, completeLimit)
	defer cancel()
	status, err := a.fetch(ctx)
	if err != nil {
		return nil
	}
	return words(shown(status))
}

// completeNames offers the agents' names as the first argument.
func (a *app) completeNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.known(cmd.Context(), agentNames), cobra.ShellCompDirectiveNoFileComp
}

// completeQuery offers names, and then the types of a question.
func (a *app) completeQuery(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return slices.Sorted(maps.Keys(typeNames)), cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeNames(cmd, args, word)
}

// completeCopy offers names with the colon that scp wants, and files as well.
func (a *app) completeCopy(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	if strings.ContainsAny(word, "/:") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, name := range a.known(cmd.Context(), agentNames) {
		if strings.HasPrefix(name, word) {
			names = append(names, name+":")
		}
	}
	if len(names) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoSpace
}

// completeOpen offers names, and then what every workspace has.
func (a *app) completeOpen(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return []string{openWeb, openTerminal, openShell}, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeNames(cmd, args, word)
}

// completeWait offers what can be waited for.
func completeWait(status *localv1.Status) []string {
	words := agentNames(status)
	for _, workspace := range workspaceNames(status) {
		words = append(words, workspacePrefix+workspace)
	}
	return words
}

// completeFlag offers words of the status as the value of a flag.
func (a *app) completeFlag(command *cobra.Command, flag string, words lister, always ...string) {
	mustComplete(command.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return append(always[:len(always):len(always)], a.known(cmd.Context(), words)...), cobra.ShellCompDirectiveNoFileComp
	}))
}

// completeWords offers fixed words as the value of a flag.
func completeWords(command *cobra.Command, flag string, words []string) {
	mustComplete(command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
}

// mustComplete: the flag is one that the command has just been given.
func mustComplete(err error) {
	if err != nil {
		panic(err)
	}
}

func agentNames(status *localv1.Status) []string {
	var names []string
	for _, agent := range sorted(status.GetAgents()) {
		names = append(names, agentName(agent))
	}
	return names
}

func workspaceNames(status *localv1.Status) []string {
	var names []string
	for _, agent := range sorted(status.GetAgents()) {
		names = append(names, agent.GetWorkspace())
	}
	return slices.Compact(names)
}
