package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
)

func (a *app) configSSH() *cobra.Command {
	var dry, remove bool
	var file string
	command := &cobra.Command{
		Use: "config-ssh", Short: "Set plain ssh up for our names, or undo it", Args: args(0, 0, ""),
		Long: `Write a section into the configuration of ssh, for every name of the deployment:
with keep-alives, and with host keys in a file of their own. Plain ssh, git,
rsync and editors that use ssh then behave as causeway ssh does. Nothing else in
the file is touched, what you have set yourself counts first, and --remove leaves
every byte as it was before.

Host keys are asked for through the tunnel, which has checked who answers, when a
name is seen for the first time, and kept. A key that changes is refused.
Workspaces that are made anew may have a new one; the message of ssh then says
which line to remove. An ssh before 8.5 cannot ask: it accepts the key that it
sees first.`,
		Example: `  causeway config-ssh --dry-run
  causeway config-ssh
  causeway config-ssh --remove`,
	}
	command.Flags().BoolVar(&dry, "dry-run", false, "print what would change, and change nothing")
	command.Flags().BoolVar(&remove, "remove", false, "take the section away")
	command.Flags().StringVar(&file, "file", "", "the file to change (default ~/.ssh/config)")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.configureSSH(cmd.Context(), file, dry, remove)
	}
	return command
}

func (a *app) configureSSH(ctx context.Context, file string, dry, remove bool) error {
	path, err := a.sshConfigFile(file)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("configure ssh: %w", err)
	}
	after, err := a.sshConfigured(ctx, before, remove)
	if errors.Is(err, errDamaged) {
		return &localapi.Error{Code: localapi.CodeGeneric, Cause: "configure ssh: " + path + ": " + err.Error(), Remedy: "take the lines from " + sectionBegin + " to " + sectionEnd + " out of the file by hand"}
	}
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(before, after):
		fmt.Fprintf(a.env.Stdout, "%s is as it should be\n", path)
		return nil
	case dry:
		fmt.Fprint(a.env.Stdout, diff(path, before, after))
		return nil
	}
	if err := a.writeConfig(path, before, after, remove); err != nil {
		return fmt.Errorf("configure ssh: %w", err)
	}
	if remove && after == nil {
		fmt.Fprintf(a.env.Stdout, "removed %s, which causeway config-ssh had made\n", path)
	} else if remove {
		fmt.Fprintf(a.env.Stdout, "the section is gone from %s\n", path)
	} else {
		fmt.Fprintf(a.env.Stdout, "%s is set up; host keys are checked, and kept\n", path)
	}
	return nil
}

// sshConfigFile is the file itself, at the end of all links.
func (a *app) sshConfigFile(path string) (string, error) {
	if path == "" {
		home := a.getenv("HOME")
		if home == "" {
			var err error
			if home, err = os.UserHomeDir(); err != nil {
				return "", fmt.Errorf("configure ssh: find the home directory: %w", err)
			}
		}
		path = filepath.Join(home, ".ssh", "config")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("configure ssh: %w", err)
	}
	for range 40 { // as many links as Linux follows
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil
		}
		if err := trustLink(path); err != nil {
			return "", fmt.Errorf("configure ssh: %w", err)
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return "", fmt.Errorf("configure ssh: follow %s: too many links", path)
}

// sshConfigured is what the file should be.
func (a *app) sshConfigured(ctx context.Context, file []byte, remove bool) ([]byte, error) {
	if remove {
		return withoutSection(file)
	}
	client, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	status, err := a.askStatus(ctx, client)
	if err != nil {
		return nil, err
	}
	suffix := status.GetSuffix()
	if suffix == "" || !plainHost(suffix) {
		return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: "configure ssh: the suffix of the deployment's names is not known", Remedy: "connect first: causeway up --wait"}
	}
	known, err := a.knownHostsPath()
	if err != nil {
		return nil, err
	}
	options, err := a.keyOptions(ctx, known)
	if err != nil {
		return nil, err
	}
	section := []string{"# Kept by causeway config-ssh; causeway config-ssh --remove takes it away.", "Host *." + suffix}
	for _, option := range append(options, keepAlives...) {
		section = append(section, "    "+option[0]+" "+option[1])
	}
	return withSection(file, section)
}

// writeConfig replaces the file. With a section, ssh needs the place for the
// host keys that it names: ssh makes none, and would keep no key without a word.
func (a *app) writeConfig(path string, before, after []byte, remove bool) error {
	if !remove {
		if _, err := a.knownHosts(); err != nil {
			return err
		}
	}
	if after == nil {
		return removeFile(path, before)
	}
	return replaceFile(path, before, after)
}

// errChanged: somebody else wrote the file meanwhile.
var errChanged = errors.New("it has changed meanwhile")

// removeFile takes away the one that was read.
func removeFile(path string, before []byte) error {
	if now, err := os.ReadFile(path); err != nil {
		return err
	} else if !bytes.Equal(now, before) {
		return fmt.Errorf("remove %s: %w", path, errChanged)
	}
	return os.Remove(path)
}

// replaceFile puts a new content in the place of the one that was read, whole or
// not at all. A new file is for its owner alone, another keeps its mode.
func replaceFile(path string, before, after []byte) error {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	info, err := os.Stat(path)
	if err == nil {
		mode = info.Mode().Perm()
	}
	next, err := os.CreateTemp(dir, ".causeway-config-*")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name()) // a rename leaves nothing
	_, err = next.Write(after)
	if info != nil {
		err = errors.Join(err, keepOwner(next, info))
	}
	if err = errors.Join(err, next.Chmod(mode), next.Sync(), next.Close()); err != nil {
		return fmt.Errorf("write %s: %w", next.Name(), err)
	}
	now, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(now, before) {
		return fmt.Errorf("replace %s: %w", path, errChanged)
	}
	return os.Rename(next.Name(), path)
}
