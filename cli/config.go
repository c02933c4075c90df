package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// maxImport bounds a file to import, in bytes; it holds a handful of words.
const maxImport = 64 << 10

type exportJSON struct {
	Version  int               `json:"version"`
	Settings map[string]string `json:"settings"`
}

func (a *app) config() *cobra.Command {
	command := &cobra.Command{
		Use: "config", Short: "Settings as files: validate, export, import", Args: cobra.ArbitraryArgs,
		Long: `The settings file (` + config.DefaultFile + `, YAML) is the administrator's, and is
read when the daemon starts. What causeway set has changed is kept by the daemon;
it can be exported as JSON, and imported on another machine.`,
		RunE: group,
	}
	command.AddCommand(a.configValidate(), a.configExport(), a.configImport())
	return command
}

func (a *app) configValidate() *cobra.Command {
	return &cobra.Command{
		Use: "validate [file]", Short: "Check a settings file, without a daemon", Args: args(0, 1, "at most one file"),
		Long: `Check a settings file as the daemon does when it starts. An error names the line, the
key, and what would be taken. Needs no daemon.`,
		Example: "  causeway config validate\n  causeway config validate ./causeway.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			path := config.DefaultFile
			if len(args) == 1 {
				path = args[0]
			} else if named := a.getenv(config.FileEnv); named != "" {
				path = named
			} else if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
				_, err := fmt.Fprintf(a.env.Stdout, "there is no %s: the defaults hold, which is fine\n", path)
				return err
			}
			if full, err := filepath.Abs(path); err == nil {
				path = full
			}
			none := func(string) (string, bool) { return "", false }
			values, err := config.LoadValues(config.Sources{Flags: map[string]string{config.FileFlag: path}, LookupEnv: none})
			if err != nil {
				return &localapi.Error{Code: localapi.CodeGeneric, Cause: err.Error(), Remedy: "the settings and what they take: causewayd --help"}
			}
			count := 0
			for _, value := range values.All() {
				if value.Source == config.FromFile {
					count++
				}
			}
			_, err = fmt.Fprintf(a.env.Stdout, "%s is valid and sets %d of %d settings\n", printable(path), count, len(values.All()))
			return err
		},
	}
}

func (a *app) configExport() *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Print as JSON what causeway set has changed", Args: args(0, 0, ""),
		Long: `Print as JSON (cli/schema/config-export.json) what causeway set has changed, for
causeway config import on another machine.`,
		Example: "  causeway config export > settings.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := a.settings(cmd.Context())
			if err != nil {
				return err
			}
			out := exportJSON{Version: jsonVersion, Settings: map[string]string{}}
			for _, s := range settings {
				if s.GetSource() == string(config.FromSet) {
					out.Settings[s.GetName()] = s.GetValue()
				}
			}
			return writeJSON(a.env.Stdout, out)
		},
	}
}

func (a *app) configImport() *cobra.Command {
	return &cobra.Command{
		Use: "import <file|->", Short: "Set what causeway config export has printed", Args: args(1, 1, "a file, or - for standard input"),
		Long: `Set what causeway config export has printed: all of it or, if anything is not
right, nothing. Settings that the file does not name stay as they are.`,
		Example: "  causeway config import settings.json\n  ssh other causeway config export | causeway config import -",
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := a.readImport(args[0])
			if err != nil {
				return &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("import %s: %s", args[0], plainCause(err)), Remedy: "name a file that causeway config export has written"}
			}
			values, err := parseImport(data)
			if err != nil {
				return &localapi.Error{Code: localapi.CodeUsage, Cause: fmt.Sprintf("import %s: %s", args[0], err), Remedy: "what can be set: causeway set --help"}
			}
			if len(values) == 0 {
				fmt.Fprintln(a.env.Stdout, "nothing to set")
				return nil
			}
			return a.applySettings(cmd.Context(), &localv1.SetSettingsRequest{Values: values})
		},
	}
}

func (a *app) readImport(path string) ([]byte, error) {
	source := a.env.Stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		source = file
	}
	data, err := io.ReadAll(io.LimitReader(source, maxImport+1))
	if err == nil && len(data) > maxImport {
		err = fmt.Errorf("larger than %d bytes", maxImport)
	}
	return data, err
}

// parseImport reads an export. Its errors name the line and the key.
func parseImport(data []byte) (map[string]string, error) {
	r := &jsonLines{data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	values, version := map[string]string{}, 0
	err := r.object(func(key string) error {
		switch key {
		case "version":
			return r.value(&version, "a number")
		case "settings":
			return r.object(func(name string) error {
				var text string
				if err := r.value(&text, "a text"); err != nil {
					return fmt.Errorf("key %q: %w", name, err)
				}
				if _, twice := values[name]; twice {
					return fmt.Errorf("key %q stands there twice", name)
				}
				values[name] = text
				if err := config.Defaults().CheckSet(name, text); err != nil {
					return fmt.Errorf("key %q: %w", name, err)
				}
				return nil
			})
		}
		return fmt.Errorf("unknown key %q; known are version, settings", key)
	})
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", r.line(), err)
	}
	switch _, end := r.decoder.Token(); {
	case !errors.Is(end, io.EOF):
		return nil, fmt.Errorf("line %d: something follows", r.line())
	case version != jsonVersion:
		return nil, fmt.Errorf("version %d is not known to this program, which knows %d", version, jsonVersion)
	}
	return values, nil
}

// jsonLines reads JSON and knows the line.
type jsonLines struct {
	data    []byte
	decoder *json.Decoder
}

func (r *jsonLines) line() int {
	return 1 + bytes.Count(r.data[:min(int(r.decoder.InputOffset()), len(r.data))], []byte("\n"))
}

// object calls each with every key of an object; it must read the value.
func (r *jsonLines) object(each func(key string) error) error {
	if token, err := r.decoder.Token(); err != nil || token != json.Delim('{') {
		return errors.New("expected a JSON object")
	}
	for r.decoder.More() {
		token, err := r.decoder.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return errors.New("not JSON")
		}
		if err := each(key); err != nil {
			return err
		}
	}
	if _, err := r.decoder.Token(); err != nil {
		return errors.New("not JSON")
	}
	return nil
}

func (r *jsonLines) value(into any, what string) error {
	if err := r.decoder.Decode(into); err != nil {
		return fmt.Errorf("expected %s", what)
	}
	return nil
}
