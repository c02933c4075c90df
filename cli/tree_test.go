package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands are all that can be run, but for those that cobra brings.
func commands(t *testing.T) []*cobra.Command {
	t.Helper()
	var all []*cobra.Command
	var walk func(*cobra.Command)
	walk = func(command *cobra.Command) {
		if command.Hidden || command.Name() == "help" || slices.ContainsFunc(all, func(c *cobra.Command) bool { return c == command }) {
			return
		}
		all = append(all, command)
		for _, child := range command.Commands() {
			walk(child)
		}
	}
	walk(Root(Env{LookupEnv: noEnv}))
	return all
}

// slug is a command's path as file names have it; "" for the program itself.
func slug(command *cobra.Command) string {
	return strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(command.CommandPath(), "causeway"), " "), " ", "-")
}

// TestTree: every command has an example, a page of help that is what was agreed
// (testdata/help; UPDATE_GOLDEN=1 writes it anew), a schema if it prints JSON, and
// a transcript that runs it.
func TestTree(t *testing.T) {
	transcripts := transcripts(t)
	var pages []string
	for _, command := range commands(t) {
		name := slug(command)
		if name == "" {
			name = "causeway"
		}
		t.Run(name, func(t *testing.T) {
			cobras := strings.HasPrefix(name, "completion")
			// The commands of a group bring their own.
			if command.Example == "" && !cobras && !command.HasSubCommands() {
				t.Error("no example")
			}
			for line := range strings.Lines(command.Example) {
				if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(line, "  ") {
					t.Errorf("example is not indented: %q", line)
				}
			}
			var stdout, stderr output
			code := Main(t.Context(), Env{
				Args: append(strings.Fields(command.CommandPath()), "--help"), Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv, Version: "v1.2.3",
			})
			if code != 0 || stderr.String() != "" {
				t.Errorf("--help: exit code %d, %s", code, stderr.String())
			}
			pages = append(pages, name)
			golden(t, filepath.Join("testdata", "help", name), stdout.String())
			if command.Flags().Lookup("json") != nil {
				if _, err := os.Stat(filepath.Join("schema", name+".json")); err != nil {
					t.Errorf("it prints JSON without a schema: %v", err)
				}
				if !strings.Contains(transcripts, "schema "+name+"\n") && !tested(t, `"`+name+`"`) {
					t.Errorf("nothing compares its JSON with the schema")
				}
			}
			if command.Runnable() && !command.HasSubCommands() && !cobras && !strings.Contains(transcripts, command.CommandPath()+"\n") && !strings.Contains(transcripts, command.CommandPath()+" ") {
				t.Error("no transcript runs it")
			}
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "help"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.Contains(pages, file.Name()) {
			t.Errorf("testdata/help/%s is of no command", file.Name())
		}
	}
}

func transcripts(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// tested says that a Go test compares with the schema: fitsSchema(t, "name", ...).
func tested(t *testing.T, quoted string) bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), "fitsSchema(t, "+quoted)
	})
}

// TestHelpHasExitCodes: the published table is in the help.
func TestHelpHasExitCodes(t *testing.T) {
	var stdout output
	Main(t.Context(), Env{Args: []string{"causeway", "--help"}, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stdout, LookupEnv: noEnv})
	if !strings.HasSuffix(strings.TrimRight(stdout.String(), "\n"), strings.TrimRight(exitCodes, "\n")) {
		t.Errorf("the help ends otherwise:\n%s", stdout.String())
	}
}
