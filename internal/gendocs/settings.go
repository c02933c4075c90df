package gendocs

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/config"
)

// Settings is causewayd's settings file with every setting in it, commented
// out, at its default.
func Settings() string {
	var text strings.Builder
	text.WriteString("# Settings of causewayd. Each one is shown with its default; take the # away to\n" +
		"# change it, then run: systemctl restart causewayd\n" +
		"# A flag of the service, or the variable in brackets, comes before this file.\n")
	for _, setting := range config.Schema() {
		doc := sentence(setting.Doc)
		if setting.Env != "" {
			doc += " [" + setting.Env + "]"
		}
		text.WriteString("\n" + comment(doc))
		if len(setting.Choices) > 0 {
			text.WriteString(comment("One of: " + strings.Join(setting.Choices, ", ")))
		}
		fmt.Fprintf(&text, "#%s: %s\n", setting.Name, value(setting.Default))
	}
	return text.String()
}

// value is a default as YAML: nothing at all would be no text.
func value(text string) string {
	if text == "" {
		return `""`
	}
	return text
}

// Environment is the file of environment variables for a command's flags, each
// commented out, at its default.
func Environment(command *cobra.Command, service string, name func(flag string) string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "# Settings of %[1]s, as environment variables. Each one is shown with its\n"+
		"# default; take the # away to change it, then run: systemctl restart %[1]s\n", service)
	command.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "help" {
			return
		}
		standard := flag.DefValue
		if standard == "[]" {
			standard = ""
		}
		fmt.Fprintf(&text, "\n%s#%s=%s\n", comment(sentence(strings.ReplaceAll(flag.Usage, "`", ""))), name(flag.Name), standard)
	})
	return text.String()
}

func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// comment breaks a text into lines of a comment.
func comment(text string) string {
	const width = 78
	var lines strings.Builder
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width {
			lines.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	return lines.String() + line + "\n"
}
