package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/causewayhq/causeway/server"
	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

// Exit codes. The table is printed by --help and does not change. Those below
// 10 mean the same as for the other commands of Causeway.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitNotRunning  = 3
	exitPermission  = 5
	exitNotFound    = 7
	exitDegraded    = 8
	exitNewerSchema = 9
	exitSetting     = 10
	exitDatabase    = 11
	exitListen      = 12
	exitExists      = 13
	exitInvalid     = 14
)

const exitTable = `Exit codes:
   0  done
   1  any other failure
   2  wrong usage: unknown command or flag, missing or invalid argument
   3  the server does not run or cannot be reached (health)
   5  no permission
   7  no such user, token, workspace, agent, database or file
   8  the server runs but is not ready (health)
   9  the database was written by a newer version
  10  a setting cannot be used
  11  the data directory or the database is damaged, locked or in use
  12  an address cannot be listened on
  13  a name or a file exists already, or a definition has changed meanwhile
  14  an agent's definition, a secret or a banner cannot be used`

// usageError is a mistake in the command line.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

// healthError is a server that does not answer as it should. Its remedy is for
// commands that have --url.
type healthError struct {
	code   int
	cause  error
	remedy string
}

func (e *healthError) Error() string {
	if e.remedy == "" {
		return e.cause.Error()
	}
	return e.cause.Error() + "; " + e.remedy
}

func (e *healthError) Unwrap() error { return e.cause }

// noDatabaseError is a data directory in which no server has ever run.
type noDatabaseError struct{ dir, remedy string }

func (e *noDatabaseError) Error() string {
	return fmt.Sprintf("open database: no database in %s; the server runs as another user or with another --data-dir?\n%s", e.dir, capital(e.remedy))
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

func (e *noDatabaseError) Is(target error) bool { return target == fs.ErrNotExist }

func exitCode(err error) int {
	var usage *usageError
	var health *healthError
	var setting *server.SettingError
	var listen *server.ListenError
	var name *store.NameError
	var password *store.PasswordError
	var credential *store.GitCredentialError
	var invalid *define.InvalidError
	var secret *define.SecretError
	var banner *define.BannerError
	switch {
	case errors.As(err, &invalid), errors.As(err, &secret), errors.As(err, &banner), errors.Is(err, store.ErrSecretsTotal):
		return exitInvalid
	case errors.Is(err, store.ErrRevision):
		return exitExists
	case errors.As(err, &usage), errors.As(err, &name), errors.As(err, &password), errors.As(err, &credential):
		return exitUsage
	case errors.As(err, &health):
		return health.code
	case errors.As(err, &setting):
		return exitSetting
	case errors.As(err, &listen):
		return exitListen
	case errors.Is(err, store.ErrNewerSchema):
		return exitNewerSchema
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrInUse), errors.Is(err, store.ErrLocked), errors.Is(err, syscall.ENOTDIR):
		return exitDatabase
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	case errors.Is(err, store.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return exitNotFound
	case errors.Is(err, store.ErrExists), errors.Is(err, fs.ErrExist):
		return exitExists
	}
	// What cobra finds has no type of its own.
	for _, start := range []string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires ", "invalid argument", "flag needs", "required flag"} {
		if strings.HasPrefix(err.Error(), start) {
			return exitUsage
		}
	}
	return exitOther
}

// describe adds the remedy that the error of a command itself cannot know.
func describe(err error, command string) string {
	text := err.Error()
	if exitCode(err) == exitUsage {
		return text + "\nSee: " + command + " --help"
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("%s\nRun it as the user that the server runs as, or choose another directory with --data-dir.", text)
	}
	if errors.Is(err, store.ErrLocked) {
		return text + "\nTry again when that process has ended; to find it: fuser FILE, with the path of the database."
	}
	var secret *define.SecretError
	if errors.As(err, &secret) {
		return text + "\nThe secrets of an agent: causeway-server agent show USER/WS/AGENT"
	}
	if errors.Is(err, store.ErrExists) {
		return text + "\nChoose another name, or delete the one that there is."
	}
	return text
}
