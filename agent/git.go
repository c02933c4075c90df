package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/causewayhq/causeway/agent/gitauth"
)

// GitDirectoryVariable tells this program, when git runs it in a session, where
// the sockets are on which the agent answers.
const GitDirectoryVariable = "CAUSEWAY_GIT_DIR"

func (a *agent) gitDirectory() string { return filepath.Join(a.config.StateDir, "git") }

// serveGit answers git in the workspace until the context ends. Without it git
// works, with what the workspace itself has.
func (a *agent) serveGit(ctx context.Context) {
	server := gitauth.New(gitauth.Config{
		Logger: a.log, URL: a.config.URL, Token: func() string { return string(a.tokens.recent()) }, Header: a.config.Header, Directory: a.gitDirectory(),
	})
	if err := server.Serve(ctx); err != nil {
		a.log.Warn("git cannot sign in as the workspace's owner", slog.String("error", err.Error()))
	}
}

// gitEnvironment makes git use this program: for SSH always, for passwords when
// the owner has some stored, because a failing question costs a line of output.
func (a *agent) gitEnvironment(m manifest) []string {
	program, err := os.Executable()
	if err != nil {
		return nil
	}
	directory, err := filepath.Abs(a.gitDirectory())
	if err != nil {
		return nil
	}
	variables := []string{GitDirectoryVariable + "=" + directory, "GIT_SSH_COMMAND=" + quoted(program) + " gitssh --"}
	if m.message.GetGitAuthConfigs() > 0 {
		variables = append(variables, "GIT_ASKPASS="+program)
	}
	return variables
}

// quoted is a word for the shell that git hands GIT_SSH_COMMAND to: as it is,
// when nothing in it has a meaning there.
func quoted(word string) string {
	if !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:@%", r)
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
