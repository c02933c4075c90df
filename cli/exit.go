package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/causewayhq/causeway/localapi"
)

// exitCodes is the published table; docs and --help print it.
const exitCodes = `Exit codes:
  0  done
  1  failed for a reason that has no code of its own
  2  the command line is wrong
  3  the daemon is not running
  4  not signed in, or the deployment refuses the token
  5  permission denied
  6  timed out
  7  no such name
  8  degraded: the tunnel is not working as wanted
  9  this program and the daemon do not fit together
  causeway ssh, scp and port-forward pass on the exit code of OpenSSH, which is
  that of the remote command, or 255 if ssh itself failed.
`

// interrupted is what shells report for a program that Ctrl-C ended.
const interrupted = 130

// usageError is a wrong command line.
type usageError struct {
	cause, remedy string
}

func (e *usageError) Error() string { return e.cause }

// silentError ends with a code and says nothing: it has been said already.
type silentError struct{ code localapi.Code }

func (e *silentError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// ranError marks an error of a command that did run; the others are cobra's,
// about the command line.
type ranError struct{ error }

func (e *ranError) Unwrap() error { return e.error }

// report prints the error and gives the exit code.
func (a *app) report(err error) int {
	var silent *silentError
	var usage *usageError
	var known *localapi.Error
	var ran *ranError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &silent):
		return int(silent.code)
	case errors.As(err, &usage):
		a.complain(usage.cause, usage.remedy)
		return int(localapi.CodeUsage)
	case errors.As(err, &known):
		remedy := known.Remedy
		if known.Code == localapi.CodePermission && strings.Contains(remedy, "same command with sudo") {
			remedy = "run: " + a.sudo()
			if _, more, ok := strings.Cut(known.Remedy, "; "); ok {
				remedy += " (" + more + ")"
			}
		}
		a.complain(err.Error(), remedy)
		return int(known.Code)
	case errors.Is(err, context.Canceled):
		return interrupted
	case errors.Is(err, context.DeadlineExceeded):
		a.complain(err.Error(), "")
		return int(localapi.CodeTimeout)
	case errors.As(err, &ran):
		a.complain(err.Error(), "")
		return int(localapi.CodeGeneric)
	}
	a.complain(err.Error(), "see: causeway --help")
	return int(localapi.CodeUsage)
}

func (a *app) complain(cause, remedy string) {
	style := a.style(a.env.Stderr)
	fmt.Fprintf(a.env.Stderr, "%scauseway:%s %s\n", style.red, style.reset, printable(cause))
	if remedy != "" {
		fmt.Fprintf(a.env.Stderr, "  remedy: %s\n", printable(remedy))
	}
}

// sudo is the command line that was given, with sudo before it. The socket
// goes along by name: sudo drops the environment.
func (a *app) sudo() string {
	words := []string{"sudo"}
	for i, word := range withoutSecrets(a.env.Args) {
		if i == 0 {
			word = "causeway"
			if path, err := os.Executable(); err == nil && !strings.HasSuffix(path, ".test") && strings.Contains(a.env.Args[0], "/") {
				word = path
			}
		}
		words = append(words, quote(word))
		if path := a.getenv("CAUSEWAY_SOCKET"); i == 0 && path != "" && a.socket == "" {
			words = append(words, "--socket", quote(path))
		}
	}
	return strings.Join(words, " ")
}

// quote makes a word safe to paste into a shell.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
