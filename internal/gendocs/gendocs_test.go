package gendocs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/internal/rig"
)

// TestSettings holds that the file that is installed changes nothing as it is,
// names every setting, and shows values that are taken when the # goes.
func TestSettings(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	load := func(content string) config.Daemon {
		t.Helper()
		path := filepath.Join(t.TempDir(), "causeway.yaml")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		loaded, err := config.Load(config.Sources{Flags: map[string]string{config.FileFlag: path}, LookupEnv: none})
		if err != nil {
			t.Fatalf("%v in:\n%s", err, content)
		}
		loaded.File = ""
		return loaded
	}
	text := Settings()
	for line := range strings.Lines(text) {
		if line != "\n" && !strings.HasPrefix(line, "#") || len(line) > 80 {
			t.Errorf("line %q", line)
		}
	}
	asIs, empty := load(text), load("")
	given := regexp.MustCompile(`(?m)^#([a-z-]+: )`).ReplaceAllString(text, "$1")
	for _, setting := range config.Schema() {
		if !strings.Contains(given, "\n"+setting.Name+": ") {
			t.Errorf("%s is missing", setting.Name)
		}
	}
	if same := equal(asIs, empty) && equal(load(given), empty); !same {
		t.Errorf("as installed %+v, with every # away %+v, without a file %+v", asIs, load(given), empty)
	}
}

// equal goes by the text: what a setting holds may not be comparable.
func equal(one, other config.Daemon) bool {
	return fmt.Sprintf("%+v", one) == fmt.Sprintf("%+v", other)
}

// TestWrite holds that a program's pages and completions are written, the same
// twice.
func TestWrite(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	pages := func() map[string]string {
		root := &cobra.Command{Use: "thing", Short: "Do it"}
		root.AddCommand(&cobra.Command{Use: "now", Short: "At once", Run: func(*cobra.Command, []string) {}})
		dir := t.TempDir()
		if err := Write(root, "8", dir, File{Name: "thing.env", Text: Environment(root, "thing", strings.ToUpper)}); err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		if err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			found[strings.TrimPrefix(path, dir+"/")] = string(content)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	first, second := pages(), pages()
	for _, want := range []string{"man/man8/thing.8", "man/man8/thing-now.8", "completions/bash/thing", "completions/zsh/_thing", "completions/fish/thing.fish", "thing.env"} {
		if first[want] == "" {
			t.Errorf("no %s", want)
		}
		if first[want] != second[want] {
			t.Errorf("%s is not the same twice", want)
		}
	}
	if !strings.Contains(first["man/man8/thing.8"], "Nov 2023") {
		t.Errorf("not of the day of the source:\n%s", first["man/man8/thing.8"])
	}
}

// TestEnvironment holds that the file for a service names each flag, in its
// variable, and sets none.
func TestEnvironment(t *testing.T) {
	command := &cobra.Command{Use: "run"}
	command.Flags().String("listen", "127.0.0.1:7080", "address for `HTTP`")
	command.Flags().StringSlice("relays", nil, "more of them")
	command.Flags().String("secret", "x", "not for people")
	if err := command.Flags().MarkHidden("secret"); err != nil {
		t.Fatal(err)
	}
	got := Environment(command, "thing", func(flag string) string { return "THING_" + strings.ToUpper(flag) })
	want := "\n# Address for HTTP\n#THING_LISTEN=127.0.0.1:7080\n\n# More of them\n#THING_RELAYS=\n"
	if !strings.HasSuffix(got, want) || strings.Contains(got, "SECRET") {
		t.Errorf("got:\n%s\nwant at its end:\n%s", got, want)
	}
}

// TestPages holds that what people read in the pages of the programs is what was
// written: tables line by line, names of variables whole, each command and each
// exit code. It builds the programs with the tag, which nothing but make packages
// does.
func TestPages(t *testing.T) {
	if err := rig.Sources("../.."); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-tags", "docs", "-o", dir+"/", "github.com/causewayhq/causeway/cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for page, lines := range map[string][]string{
		"causewayd/man/man8/causewayd.8": {
			"--state-dir, CAUSEWAY_STATE_DIR (default /var/lib/causeway)", "Directory (0700) of the credentials, keys and caches.",
			"--interface, CAUSEWAY_INTERFACE (default causeway0)", "proxy (in the file only)", "15  the process is not root", "uninstall  Stop the service, put the network back, and take the service away",
		},
		"causewayd/man/man5/causeway.yaml.5":             {"log-level: (default info)", "header-command:", "Least severe level that is logged. One of: debug, info, warn, error. Variable: CAUSEWAY_LOG_LEVEL."},
		"causeway/man/man1/causeway.1":                   {"4  not signed in, or the deployment refuses the token", "netcheck      Survey the network: UDP, NAT, relays, proxies, other VPNs"},
		"causeway/man/man1/causeway-wait.1":              {"dns             this machine's own resolver answers for our names"},
		"causeway-server/man/man8/causeway-server.8":     {"Every flag has an environment variable: CAUSEWAY_SERVER_ and its name in capitals with underscores, such as CAUSEWAY_SERVER_DATA_DIR.", "12  an address cannot be listened on"},
		"causeway-agent/man/man1/causeway-agent.1":       {"4  the control plane refuses the token", "As a service: causeway-agent install. With the package's own unit: sudo systemctl enable --now causeway-agent@USER, once /etc/causeway/agent-USER.env holds CAUSEWAY_AGENT_URL=URL"},
		"causeway-tray/man/man1/causeway-tray.1":         {"2  the command line is wrong", "--theme=\"auto\"      the panel to stand out from: auto, dark, light"},
		"causeway-tray/man/man1/causeway-tray-version.1": {"causeway-tray-version - Print the version"},
	} {
		t.Run(filepath.Base(page), func(t *testing.T) {
			program, _, _ := strings.Cut(page, "/")
			into := filepath.Join(dir, "docs", program)
			if output, err := exec.Command(filepath.Join(dir, program), into).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, output)
			}
			text := read(t, filepath.Join(dir, "docs", page))
			for _, line := range lines {
				if !strings.Contains(text, "\n"+strings.Join(strings.Fields(line), " ")) {
					t.Errorf("%q is not in:\n%s", line, text)
				}
			}
		})
	}
}

// read renders a page on lines that are long enough to break nothing.
func read(t *testing.T, page string) string {
	t.Helper()
	roff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("needs groff")
	}
	output, err := exec.Command(roff, "-man", "-Tutf8", "-P-cbou", "-rLL=400n", "-rHY=0", page).Output()
	if err != nil {
		t.Fatalf("%s: %v", page, err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(output)) {
		text.WriteString("\n" + strings.Join(strings.Fields(line), " "))
	}
	return text.String()
}
