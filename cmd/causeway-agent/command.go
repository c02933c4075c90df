package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/agent"
	"github.com/causewayhq/causeway/internal/version"
)

// envPrefix begins the names of the variables that stand in for flags. The SSH
// server hides variables with this prefix from sessions.
const envPrefix = "CAUSEWAY_AGENT_"

// options are the settings of run: a flag counts before its variable.
type options struct {
	url, token, tokenFile, tokenCommand, stateDir, logLevel string
	headers                                                 []string
	ssh                                                     agent.SSH
	terminalIdle                                            time.Duration
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "causeway-agent",
		Short: "Make this workspace reachable through the tunnel",
		Long: `Make this workspace reachable through the tunnel: SSH, files, and every port of
localhost. It runs as the user whose workspace it is, and needs no privilege.

As a service: causeway-agent install. With the package's own unit:
sudo systemctl enable --now causeway-agent@USER, once
/etc/causeway/agent-USER.env holds CAUSEWAY_AGENT_URL=URL, and
/etc/causeway/agent-USER.token, which only root need read, the agent's token.

` + exitHelp,
		Example: `  causeway-agent run --url https://causeway.example.com --token-file token
  causeway-agent run --help    # every setting
  causeway-agent version`,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              unknownCommand,
	}
	// Not cobra's own, which has a template: whoever links text/template keeps each
	// method of each type.
	asked := root.Flags().BoolP("version", "v", false, "version for causeway-agent")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asked {
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionLine())
			return err
		}
		return cmd.Help()
	}
	root.SetFlagErrorFunc(misuse)
	root.AddCommand(newRun(), newGitSSH(), newInstall(), newUninstall(), newStat(), newVersion())
	return root
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misuse(cmd, fmt.Errorf("unknown command %q", args[0]))
	}
	return nil
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misuse(cmd, fmt.Errorf("unexpected argument %q", args[0]))
	}
	return nil
}

func versionLine() string {
	return fmt.Sprintf("causeway-agent %s (%s, %s/%s)\n", version.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

func newRun() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "run --url URL",
		Short: "Join the tunnel and serve until told to stop",
		Long: `Join the tunnel and serve SSH and the ports of localhost until SIGTERM.

The token comes from --token-file, from what --token-command prints, from the
variable CAUSEWAY_AGENT_TOKEN, or from --token. The last one is for trying things
out: a command line can be read by every user of the machine until the agent has
removed the token from it.

The file is read, and the command run, each time that the agent connects: a token
can change while the agent runs. The command is the absolute path of a program and
its arguments, with blanks between them and without a shell. It has 10 s, prints
the token alone, and nothing of what it prints is shown. The agent asks it again as
long as it fails.

As the first process of a container it starts itself once more, and looks after
the processes that nobody else waits for. It needs no capability, no entry in
/etc/passwd and no /dev/net/tun; without a home directory it needs --state-dir.

Each flag has a variable: CAUSEWAY_AGENT_URL for --url, and so on.

` + exitHelp,
		Example: "  CAUSEWAY_AGENT_TOKEN=... causeway-agent run --url https://causeway.example.com",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := readSSHVariables(cmd.Flags()); err != nil {
				return usageError{err}
			}
			if isInit() {
				return o.runBelow()
			}
			return o.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), cmd.Flags().Changed("token"))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.url, "url", os.Getenv(envPrefix+"URL"), "access `URL` of the deployment")
	flags.StringVar(&o.token, "token", "", "the agent's `token`; prefer --token-file or CAUSEWAY_AGENT_TOKEN")
	flags.StringVar(&o.tokenFile, "token-file", os.Getenv(envPrefix+"TOKEN_FILE"), "`file` that holds the token, - for standard input")
	flags.StringVar(&o.tokenCommand, "token-command", os.Getenv(envPrefix+"TOKEN_COMMAND"), "`program`, by its absolute path, and arguments that print the token, run at each connection")
	flags.StringVar(&o.stateDir, "state-dir", defaultStateDir(), "`directory` that keeps the agent's keys")
	flags.StringVar(&o.logLevel, "log-level", variable("LOG_LEVEL", "info"), "debug, info, warn or error")
	addSSHFlags(flags, &o.ssh, &o.terminalIdle)
	flags.StringArrayVar(&o.headers, "header", nil, "extra `\"Name: value\"` on requests to the control plane and its relays; repeatable")
	return cmd
}

// variable is the flag's variable, or what holds without one.
func variable(name, otherwise string) string {
	if value := os.Getenv(envPrefix + name); value != "" {
		return value
	}
	return otherwise
}

// defaultStateDir follows the XDG base directories.
func defaultStateDir() string {
	if directory := os.Getenv(envPrefix + "STATE_DIR"); directory != "" {
		return directory
	}
	if base := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "causeway-agent")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "causeway-agent")
}

// runBelow runs the agent as a child of this process.
func (o options) runBelow() error {
	if o.token != "" {
		_ = hideToken(o.token) // the child says it, when this fails for it too
	}
	code, err := asInit()
	if err == nil && code != exitOK {
		err = exitError(code)
	}
	return err
}

func (o options) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, tokenOnLine bool) error {
	config, err := o.config(stdin, stderr)
	if err != nil {
		return usageError{err}
	}
	if tokenOnLine {
		if err := hideToken(o.token); err != nil {
			config.Logger.Warn("the token stays visible on the command line", slog.String("error", err.Error()))
		}
	}
	access := config.URL.Redacted()
	config.Connected = func(names []string) {
		if len(names) == 0 {
			fmt.Fprintf(stdout, "connected to %s\n", access)
			return
		}
		fmt.Fprintf(stdout, "connected to %s, reachable as %s\n", access, strings.Join(names, " and "))
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	defer context.AfterFunc(ctx, stop)()
	hearHangUps()
	return agent.Run(ctx, config)
}

// config reads and checks everything that the user gave.
func (o options) config(stdin io.Reader, stderr io.Writer) (agent.Config, error) {
	config := agent.Config{StateDir: o.stateDir, Version: version.Version, SSH: o.ssh, TerminalIdle: o.terminalIdle}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return config, fmt.Errorf("--log-level %q: want debug, info, warn or error", o.logLevel)
	}
	config.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	// Libraries that write lines of their own (x/crypto/ssh/agent) tell nothing
	// that we do not.
	slog.SetLogLoggerLevel(slog.LevelDebug)
	slog.SetDefault(config.Logger)
	if o.stateDir == "" {
		return config, errors.New("--state-dir is missing, and there is no home directory to choose one in: HOME is not set; name a directory that this user can write")
	}
	var err error
	if config.URL, err = accessURL(o.url); err != nil {
		return config, err
	}
	if config.Header, err = headers(o.headers); err != nil {
		return config, err
	}
	config.Token, err = o.tokenSource(stdin)
	return config, err
}

func accessURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("--url is missing")
	}
	access, err := url.Parse(text)
	switch {
	case err != nil:
		// The cause repeats the text, which may hold a password.
		return nil, errors.New("--url cannot be parsed; want for example https://causeway.example.com")
	case access.Scheme != "http" && access.Scheme != "https" || access.Hostname() == "":
		return nil, fmt.Errorf("--url %q: want http:// or https:// and a host", access.Redacted())
	case access.User != nil || access.RawQuery != "" || access.Fragment != "":
		return nil, fmt.Errorf("--url %q: want no user, query or fragment", access.Redacted())
	}
	return access, nil
}

func headers(lines []string) (http.Header, error) {
	result := http.Header{}
	for _, line := range lines {
		name, value, found := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !found || name == "" || strings.ContainsAny(name, " \t\r\n") || strings.ContainsAny(value, "\r\n") {
			return nil, errors.New(`--header: want "Name: value"`)
		}
		result.Add(name, value)
	}
	return result, nil
}
