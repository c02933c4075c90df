package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/cli/doctor"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/redact"
)

const (
	// collectLimit is past what the daemon gives itself for each part.
	collectLimit = 90 * time.Second
	// examineLimit is past what the checks of causeway doctor take.
	examineLimit = 60 * time.Second
)

// bundle is a support bundle in the making.
type bundle struct {
	redactor *redact.Redactor
	salt     []byte // of the aliases; nil: not strict
	files    []bundleFile
	missing  []string
}

type bundleFile struct {
	name string
	data []byte
}

func (b *bundle) add(name string, data []byte) {
	b.files = append(b.files, bundleFile{name, b.redactor.File(name, data)})
}

func (b *bundle) addJSON(name string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		b.lacks(name, err)
		return
	}
	b.add(name, data)
}

func (b *bundle) lacks(what string, err error) {
	b.missing = append(b.missing, what+": "+strings.ReplaceAll(err.Error(), "\n", "; "))
}

func (a *app) bundle() *cobra.Command {
	var output, level string
	var force bool
	var span time.Duration
	command := &cobra.Command{
		Use: "bundle", Short: "Collect what is needed to find a fault, in one file", Args: args(0, 0, ""),
		Long: `Collect what is needed to find a fault in one zip file: the report of causeway doctor,
the daemon's status, settings, recent log, figures and goroutines, what it has changed
on this machine, and how the network is set up. The file stays on this machine, only
its user can read it, and nothing is sent anywhere.

Tokens, keys, passwords, cookies and codes are taken out. With --redact strict names
and addresses become aliases too, the same for the same. Look into the file before
you pass it on.

With --for the daemon logs everything for that long first: make the fault happen
meanwhile. Without a daemon, or for who may not ask it, its part is left out, and
README.txt in the file says so.`,
		Example: `  causeway bundle
  causeway bundle --for 2m -o fault.zip
  causeway bundle --redact strict`,
	}
	flags := command.Flags()
	flags.StringVarP(&output, "output", "o", "", "file to write (default causeway-bundle-DATE.zip)")
	flags.BoolVar(&force, "force", false, "replace the file if it is there")
	flags.StringVar(&level, "redact", "default", "what to take out: default (secrets), or strict (names and addresses as well)")
	flags.DurationVar(&span, "for", 0, "log everything for that long first, for example 2m")
	completeWords(command, "redact", []string{"default", "strict"})
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case level != "default" && level != "strict":
			return &usageError{cause: fmt.Sprintf("run causeway bundle: unknown level %q of --redact", level), remedy: "give one of default, strict"}
		case span < 0:
			return &usageError{cause: "run causeway bundle: --for must be positive", remedy: "give a time such as 2m"}
		}
		if output == "" {
			output = "causeway-bundle-" + a.now().Format("20060102-150405") + ".zip"
		}
		if _, err := os.Lstat(output); err == nil && !force {
			return &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("write %s: it exists", output), Remedy: "choose another name with -o, or replace it with --force"}
		}
		return a.makeBundle(cmd.Context(), output, level == "strict", span)
	}
	return command
}

func (a *app) makeBundle(ctx context.Context, output string, strict bool, span time.Duration) error {
	b := &bundle{redactor: redact.New(a.ownSecrets()...)}
	if strict {
		b.salt = make([]byte, 16)
		rand.Read(b.salt)
		b.redactor = b.redactor.Strict(b.salt, ownNames(), nil)
	}
	client, err := a.dial(ctx)
	if err == nil {
		defer client.Close()
		if strict {
			if status, err := a.askStatus(ctx, client); err == nil {
				names, suffixes := namesOf(status)
				b.redactor = b.redactor.Strict(b.salt, append(names, ownNames()...), suffixes)
			}
		}
		err = a.daemonPart(ctx, client, b, span)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		b.lacks("the daemon's part", err)
	}
	a.ownPart(ctx, b)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.add("README.txt", []byte(b.readme(a, strict)))
	data, err := b.zip(a.now())
	if err != nil {
		return fmt.Errorf("pack bundle: %w", err)
	}
	if err := writeWhole(output, data, 0o600); err != nil {
		return err
	}
	for _, line := range b.missing {
		fmt.Fprintf(a.env.Stderr, "left out: %s\n", printable(b.redactor.Text(line)))
	}
	fmt.Fprintf(a.env.Stdout, "%s: %d files\nnothing was sent anywhere; look into it before you pass it on\n", printable(output), len(b.files))
	return nil
}

// daemonPart is what only the daemon knows.
func (a *app) daemonPart(ctx context.Context, client *localapi.Client, b *bundle, span time.Duration) error {
	if span > 0 {
		if err := a.logAll(ctx, client, span); err != nil {
			return err
		}
	}
	done := a.sayWhenSlow("collecting what the daemon knows ...")
	defer done()
	ctx, cancel := context.WithTimeout(ctx, collectLimit)
	defer cancel()
	stream, err := client.CollectBundle(ctx, &localv1.CollectBundleRequest{Strict: b.salt != nil, Salt: b.salt})
	if err != nil {
		return err
	}
	for {
		file, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// The name goes into an archive that somebody unpacks.
		b.add("daemon/"+strings.TrimPrefix(path.Clean("/"+file.GetName()), "/"), file.GetData())
	}
}

// logAll has the daemon log everything for a while, and waits for it to pass.
func (a *app) logAll(ctx context.Context, client *localapi.Client, span time.Duration) error {
	_, err := call(ctx, a, answerLimit, client.SetLogLevel, &localv1.SetLogLevelRequest{Level: "debug", For: durationpb.New(span)})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.env.Stderr, "the daemon logs everything for %s: make the fault happen now\n", span)
	if pause(ctx, span) {
		return nil
	}
	// Interrupted: nobody wants that much any more.
	_, err = call(context.WithoutCancel(ctx), a, answerLimit, client.SetLogLevel, &localv1.SetLogLevelRequest{})
	return errors.Join(ctx.Err(), err)
}

// ownPart is what this program finds out by itself, also without a daemon.
func (a *app) ownPart(ctx context.Context, b *bundle) {
	version := map[string]any{"causeway": a.env.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "now": a.now().UTC()}
	b.addJSON("cli/version.json", version)
	environment := map[string]string{}
	for _, name := range bundleVariables {
		if value, set := a.env.LookupEnv(name); set {
			environment[name] = b.redactor.Variable(name, value)
		}
	}
	b.addJSON("cli/environment.json", environment)
	done := a.sayWhenSlow("checking as causeway doctor does ...")
	defer done()
	ctx, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	outcomes := doctor.Examine(ctx, a.patient(), func(doctor.Outcome) {})
	result, _ := doctor.Verdict(outcomes)
	b.addJSON("cli/doctor.json", doctorOf(result, outcomes, nil))
}

func (b *bundle) readme(a *app, strict bool) string {
	var text strings.Builder
	fmt.Fprintf(&text, "Support bundle of Causeway, made at %s by causeway %s.\n\n", a.now().UTC().Format(time.RFC3339), a.env.Version)
	text.WriteString("It was not sent anywhere. Tokens, keys, passwords, cookies and codes were taken out (" + redact.Mark + ").\n")
	if strict {
		text.WriteString("Names and addresses are aliases: the same one stands for the same thing everywhere in here, and in no other bundle.\n")
	}
	text.WriteString("\nIn it:\n")
	for _, file := range b.files {
		fmt.Fprintf(&text, "  %s\n", file.name)
	}
	if len(b.missing) > 0 {
		text.WriteString("\nLeft out:\n  " + strings.Join(b.missing, "\n  ") + "\n")
	}
	return text.String()
}

func (b *bundle) zip(at time.Time) ([]byte, error) {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, file := range b.files {
		header := &zip.FileHeader{Name: file.name, Method: zip.Deflate, Modified: at}
		header.SetMode(0o600)
		writer, err := archive.CreateHeader(header)
		if err == nil {
			_, err = writer.Write(file.data)
		}
		if err != nil {
			return nil, err
		}
	}
	err := archive.Close() // writes the directory
	return out.Bytes(), err
}

// bundleVariables are those of the environment that change how we connect.
var bundleVariables = []string{
	"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "CAUSEWAY_SOCKET", "CAUSEWAY_CONFIG", "CAUSEWAY_STATE_DIR", "CAUSEWAY_INTERFACE", "CAUSEWAY_LOG_LEVEL", "LANG", "TERM",
}

// ownSecrets are in this program's environment under a name that says so.
func (a *app) ownSecrets() []string {
	var secrets []string
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); redact.New().Variable(name, "x") == redact.Mark {
			secrets = append(secrets, value)
		}
	}
	return secrets
}

// ownNames are of this machine and its user.
func ownNames() []string {
	var names []string
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	if who, err := user.Current(); err == nil {
		names = append(names, who.Username)
	}
	return names
}

// namesOf are the names in a status, and the suffix below which there are more.
func namesOf(status *localv1.Status) (names, suffixes []string) {
	names = []string{status.GetUser(), status.GetOwner(), status.GetProfile()}
	for _, agent := range status.GetAgents() {
		names = append(names, agent.GetName(), agent.GetWorkspace())
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" }), []string{status.GetSuffix()}
}
