package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server"
	"github.com/causewayhq/causeway/server/store"
)

type runFlags struct {
	listen, accessURL, tlsCert, tlsKey, stunListen, logLevel, logFormat string

	stunServers, relays, proxies []string
}

func (a *app) runCommand() *cobra.Command {
	var flags runFlags
	command := &cobra.Command{
		Use:   "run",
		Short: "Run the server until it is told to stop",
		Long: `Run the server until it is told to stop (SIGINT or SIGTERM).

It listens on this machine only unless told otherwise, because without TLS
tokens travel in clear. To let others in, give it a certificate, or put a
reverse proxy with TLS in front and name its URL with --access-url.

Each of --relays must be a DERP server that forwards between any two keys, such
as Tailscale's derper. Another causeway-server is none: its relay forwards only
between keys of its own tunnels. Whoever runs such a relay sees the addresses of
desktops and workspaces and who talks to whom, when and how much, and never what:
the packets are sealed end to end. Who may use it is for its owner to restrict.`,
		Example: `  causeway-server run
  causeway-server run --listen :7080 --access-url http://192.0.2.7:7080
  causeway-server run --listen :443 --tls-cert server.pem --tls-key server.key --access-url https://causeway.example.com
  causeway-server run --access-url https://causeway.example.com --stun-servers 192.0.2.7:3478 --trusted-proxies 127.0.0.1    # behind a proxy on this machine, whose address is 192.0.2.7`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.serve(command.Context(), flags, !command.Flags().Changed("stun-listen"))
		},
	}
	set := command.Flags()
	set.StringVar(&flags.listen, "listen", server.DefaultListen, "address for HTTP")
	set.StringVar(&flags.accessURL, "access-url", "", "URL by which clients and agents reach the server (default from --listen)")
	set.StringVar(&flags.tlsCert, "tls-cert", "", "certificate chain, PEM; read again when it changes")
	set.StringVar(&flags.tlsKey, "tls-key", "", "private key of --tls-cert, PEM")
	set.StringVar(&flags.stunListen, "stun-listen", server.DefaultSTUNListen, "UDP address for STUN, or off")
	set.StringSliceVar(&flags.stunServers, "stun-servers", nil, "more STUN servers, ADDRESS:PORT,... (needed when --access-url is a proxy: it carries no UDP)")
	set.StringSliceVar(&flags.relays, "relays", nil, "DERP servers for clients to use instead of the relay inside this server, URL,... (see above)")
	set.StringVar(&flags.logLevel, "log-level", "warn", "debug, info, warn or error")
	set.StringSliceVar(&flags.proxies, "trusted-proxies", nil, "reverse proxies in front, ADDRESS or NETWORK,...: sign-in limits go by the address that their X-Forwarded-For names")
	set.StringVar(&flags.logFormat, "log-format", "text", "text or json; logs go to stderr")
	return command
}

func (a *app) serve(ctx context.Context, flags runFlags, stunOptional bool) error {
	logger, err := a.logger(flags)
	if err != nil {
		return err
	}
	stunServers, err := server.ParseSTUNServers(flags.stunServers)
	if err != nil {
		return err
	}
	relays, err := server.ParseRelays(flags.relays)
	if err != nil {
		return err
	}
	proxies, err := server.ParseProxies(flags.proxies)
	if err != nil {
		return err
	}
	running, err := server.New(ctx, server.Config{
		Logger: logger, DataDir: a.dataDir, Listen: flags.listen, AccessURL: flags.accessURL,
		TLSCert: flags.tlsCert, TLSKey: flags.tlsKey, STUNListen: flags.stunListen, STUNOptional: stunOptional, STUNServers: stunServers, Relays: relays, TrustedProxies: proxies, Version: version,
	})
	if err != nil {
		return err
	}
	a.announce(running)
	return running.Run(ctx)
}

// announce prints at most ten lines, the URL and the next command last.
func (a *app) announce(running *server.Server) {
	var text strings.Builder
	fmt.Fprintf(&text, "Causeway control plane %s\n", version)
	fmt.Fprintf(&text, "  data   %s\n", a.dataDir)
	fmt.Fprintf(&text, "  HTTP   %s\n", running.Addr())
	if stun := running.STUNAddr(); stun != nil {
		fmt.Fprintf(&text, "  STUN   %s (UDP)\n", stun)
	} else {
		fmt.Fprintf(&text, "  STUN   off\n")
	}
	next := "causeway login " + running.URL() + " --up   # on a desktop; with sudo, if you did not install Causeway there"
	if code := running.SetupCode(); code != "" {
		fmt.Fprintf(&text, "  setup  no user yet; setup code for POST /api/v2/users/first: %s\n", code)
		next = a.self() + " agent create alice/myws/main --with-user   # names of your choice"
	}
	fmt.Fprintf(&text, "URL:  %s\nNext: %s\n", running.URL(), next)
	fmt.Fprint(a.stdout, text.String())
}

func (a *app) logger(flags runFlags) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(flags.logLevel)); err != nil {
		return nil, &server.SettingError{Setting: "log-level", Cause: fmt.Errorf("%q is not debug, info, warn or error", flags.logLevel)}
	}
	options := &slog.HandlerOptions{Level: level}
	switch flags.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.stderr, options)), nil
	}
	return nil, &server.SettingError{Setting: "log-format", Cause: fmt.Errorf("%q is not text or json", flags.logFormat)}
}

// healthLimit bounds the whole check.
const healthLimit = 10 * time.Second

func (a *app) healthCommand() *cobra.Command {
	var given string
	command := &cobra.Command{
		Use: "health", Aliases: []string{"check"}, Short: "Ask the server whether it is ready",
		Long: `Ask the server whether it is ready: exit 0 when it is, 3 when it cannot be
reached, 8 when it runs but is not ready.`,
		Example: "  causeway-server health\n  causeway-server health --url https://causeway.example.com",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(command.Context(), healthLimit)
			defer cancel()
			target, err := a.serverURL(ctx, given)
			if err != nil {
				return err
			}
			if err := askReady(ctx, target); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "ready: %s\n", target)
			return err
		},
	}
	command.Flags().StringVar(&given, "url", "", "URL of the server (default: where it last ran)")
	return command
}

// serverURL is the one given, or where the server of this data directory last ran.
func (a *app) serverURL(ctx context.Context, given string) (string, error) {
	if given != "" {
		parsed, err := url.Parse(given)
		if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "" {
			return "", &usageError{fmt.Errorf("use --url %q: want http:// or https:// and a host, such as https://causeway.example.com", given)}
		}
		return strings.TrimSuffix(given, "/"), nil
	}
	opened, err := a.openExisting(ctx)
	if err != nil {
		return "", err
	}
	known, err := opened.Setting(ctx, store.SettingAccessURL)
	if err := errors.Join(err, opened.Close()); err != nil {
		return "", err
	}
	if known == "" {
		return "", &healthError{exitNotRunning, errors.New("find server: it has never run here"), "start it or give --url"}
	}
	return known, nil
}

// unreachable is a server that does not answer, which no more is known of.
func unreachable(doing string, err error) error {
	return &healthError{exitNotRunning, fmt.Errorf("%s: %w", doing, err), "start the server with causeway-server run, or give its URL with --url"}
}

func askReady(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
	if err != nil {
		return &usageError{fmt.Errorf("check health of %s: %w", url, err)}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return unreachable("check health", err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	var body struct{ Message string }
	_ = json.NewDecoder(response.Body).Decode(&body) // the status says enough
	cause := fmt.Errorf("check health of %s: not ready: HTTP %d %s", url, response.StatusCode, body.Message)
	return &healthError{code: exitDegraded, cause: cause}
}
