package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/store"
)

// unknownName names the remedy of a name that is not there: the nearest ones
// that are, and how to list them all. The names are those after the prefix.
func unknownName(err error, prefix, name string, names []string, list string) error {
	near := nearNames(name, names)
	for i := range near {
		near[i] = prefix + near[i]
	}
	if len(near) > 0 {
		return fmt.Errorf("%w; did you mean %s? %s", err, strings.Join(near, " or "), capital(list))
	}
	return fmt.Errorf("%w; %s", err, list)
}

// nearMost is how many names are offered.
const nearMost = 3

// nearNames are those that differ least from a name, by two letters at most, or
// begin with it. Short names have to be nearer: any two would be near.
func nearNames(name string, names []string) []string {
	if name == "" {
		return nil // all begin with it
	}
	// It is how cobra finds commands that were meant.
	finder := &cobra.Command{Use: "names"}
	for _, each := range names {
		finder.AddCommand(&cobra.Command{Use: each, Run: func(*cobra.Command, []string) {}})
	}
	for distance := range min(2, len(name)/2) + 1 {
		finder.SuggestionsMinimumDistance = distance
		if near := finder.SuggestionsFor(name); len(near) > 0 {
			return near[:min(len(near), nearMost)]
		}
	}
	return nil
}

// checkNames says which part of a path cannot be the name of something new.
func checkNames(parts []string) error {
	for i, kind := range []string{store.KindUser, store.KindWorkspace, store.KindAgent}[:len(parts)] {
		if err := store.CheckName(kind, parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// findUser names the remedy of a user that is not there.
func (a *app) findUser(ctx context.Context, opened *store.Store, name string) (store.User, error) {
	user, err := opened.UserByName(ctx, name)
	if !errors.Is(err, store.ErrNotFound) {
		return user, err
	}
	users, failed := opened.Users(ctx)
	if failed != nil {
		return user, failed
	}
	var names []string
	for _, each := range users {
		names = append(names, each.Name)
	}
	return user, unknownName(err, "", name, names, "the users that there are: "+a.self()+" user list")
}

// findWorkspace names the remedy of a workspace that is not there.
func (a *app) findWorkspace(ctx context.Context, opened *store.Store, parts []string) (store.Workspace, error) {
	user, err := a.findUser(ctx, opened, parts[0])
	if err != nil {
		return store.Workspace{}, err
	}
	workspace, err := opened.WorkspaceByName(ctx, user.ID, parts[1])
	if !errors.Is(err, store.ErrNotFound) {
		return workspace, err
	}
	workspaces, failed := opened.WorkspacesOf(ctx, user.ID)
	if failed != nil {
		return workspace, failed
	}
	var names []string
	for _, each := range workspaces {
		names = append(names, each.Name)
	}
	return workspace, unknownName(err, user.Name+"/", parts[1], names, "the workspaces that there are: "+a.self()+" workspace list "+user.Name)
}

// findAgent names the remedy of an agent that is not there.
func (a *app) findAgent(ctx context.Context, opened *store.Store, path string) (store.Agent, error) {
	parts, err := splitPath(path, agentForm)
	if err != nil {
		return store.Agent{}, err
	}
	workspace, err := a.findWorkspace(ctx, opened, parts)
	if err != nil {
		return store.Agent{}, err
	}
	agent, err := opened.AgentByName(ctx, workspace.ID, parts[2])
	if !errors.Is(err, store.ErrNotFound) {
		return agent, err
	}
	agents, failed := opened.AgentsOf(ctx, workspace.OwnerID)
	if failed != nil {
		return agent, failed
	}
	var names []string
	for _, each := range agents {
		if each.WorkspaceID == workspace.ID {
			names = append(names, each.Name)
		}
	}
	prefix := workspace.OwnerName + "/" + workspace.Name + "/"
	return agent, unknownName(err, prefix, parts[2], names, "the agents that there are: "+a.self()+" agent list "+workspace.OwnerName)
}

// withUser says how to have the user and the workspace of a new agent created too.
func (a *app) withUser(err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if a.asJSON {
		return fmt.Errorf("%w; --json creates the agent only: begin with user create and workspace create", err)
	}
	return fmt.Errorf("%w; to create what is missing too, add --with-user", err)
}
