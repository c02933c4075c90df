package cli

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/proto/localv1"
)

// TestSystems: what the commands say of themselves is of the system they are
// for, and of no other.
func TestSystems(t *testing.T) {
	for name, s := range map[string]struct {
		system  system
		foreign []string
	}{
		"Linux":   {linuxSystem, []string{"macOS", "terminal that was opened"}},
		"macOS":   {darwinSystem, []string{"apt install", "systemctl", "journalctl", "terminal that was opened"}},
		"Windows": {windowsSystem, []string{"sudo", "apt install", "systemctl", "journalctl", "/usr/bin"}},
	} {
		t.Run(name, func(t *testing.T) {
			said := []string{s.system.installSSH, s.system.takeOver(), s.system.signIn(&localv1.Status{})}
			root := Root(Env{LookupEnv: noEnv, Stdout: io.Discard, Stderr: io.Discard})
			s.system.adapt(root)
			var walk func(*cobra.Command)
			walk = func(command *cobra.Command) {
				if command.Name() == "completion" {
					return // cobra's, for shells, some of which are of other systems
				}
				said = append(said, command.Short, command.Long, command.Example)
				command.LocalFlags().VisitAll(func(flag *pflag.Flag) { said = append(said, flag.Usage) })
				for _, child := range command.Commands() {
					walk(child)
				}
			}
			walk(root)
			for _, text := range said {
				for _, word := range s.foreign {
					if strings.Contains(text, word) {
						t.Errorf("%q is in %q", word, text)
					}
				}
			}
		})
	}
}

func TestSignInIsForAdministratorsAtFirst(t *testing.T) {
	owned := []*localv1.Status{{OwnerUid: proto.Uint32(1000)}, {OwnerSid: "S-1-5-21-1"}}
	for want, s := range map[string]system{
		"sudo causeway login <url>": linuxSystem, "causeway login <url>, in a terminal that was opened as administrator": windowsSystem,
	} {
		if got := s.signIn(&localv1.Status{}); got != want {
			t.Errorf("signIn() = %q, want %q", got, want)
		}
		// Who is shown all may sign in: the operators, and root by itself.
		if got := s.signIn(&localv1.Status{View: localv1.View_FULL}); got != "causeway login <url>" {
			t.Errorf("an operator: signIn() = %q", got)
		}
		if got := s.signIn(&localv1.Status{View: localv1.View_SUMMARY}); got != want {
			t.Errorf("no operator: signIn() = %q", got)
		}
		for _, status := range owned {
			if got := s.signIn(status); got != "causeway login <url>" {
				t.Errorf("signIn(%v) = %q", status, got)
			}
		}
	}
}

// TestValidateNothing: a machine without a settings file is as it should be.
func TestValidateNothing(t *testing.T) {
	if _, err := os.Stat(config.DefaultFile); err == nil {
		t.Skip(config.DefaultFile + " is there")
	}
	var stdout, stderr output
	code := Main(t.Context(), Env{Args: []string{"causeway", "config", "validate"}, Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv})
	if want := "there is no " + config.DefaultFile + ": the defaults hold, which is fine\n"; code != 0 || stdout.String() != want || stderr.String() != "" {
		t.Errorf("exit code %d, %q, %q", code, stdout.String(), stderr.String())
	}
}
