package gendocs

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/config"
)

// forMan puts the texts of a command and of those below it into the markdown
// that man pages are made of: they are written for a terminal, as they are.
func forMan(command *cobra.Command) {
	// A page is no wider than a terminal; the table of --help is.
	long := strings.ReplaceAll(command.Long, config.Document(), settingsList())
	if long == "" {
		long = command.Short + "."
	}
	if list := commandList(command); list != "" {
		long = strings.TrimRight(long, "\n") + "\n\nCommands:\n" + list
	}
	command.Long, command.Short = literal(long), plain(command.Short)
	command.LocalFlags().VisitAll(func(flag *pflag.Flag) { flag.Usage = plain(flag.Usage) })
	for _, child := range command.Commands() {
		forMan(child)
	}
}

// literal keeps indented lines as they stand, and every sign of the others.
func literal(text string) string {
	const fence = "```\n"
	var out strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, "  ")
		if indented != inside && (indented || strings.TrimSpace(line) != "") {
			out.WriteString(map[bool]string{true: "\n" + fence, false: fence + "\n"}[indented])
			inside = indented
		}
		if !inside {
			line = plain(line)
		}
		out.WriteString(line)
	}
	if inside {
		out.WriteString("\n" + fence)
	}
	return out.String()
}

// plain escapes what markdown would take for its own: names of variables are
// full of it.
func plain(text string) string {
	return strings.NewReplacer(`\`, `\\`, "_", `\_`, "*", `\*`, "<", `\<`, "`", "\\`").Replace(text)
}

func commandList(command *cobra.Command) string {
	var list strings.Builder
	table := tabwriter.NewWriter(&list, 0, 0, 2, ' ', 0)
	for _, child := range command.Commands() {
		if child.IsAvailableCommand() {
			fmt.Fprintf(table, "  %s\t%s\n", child.Name(), child.Short)
		}
	}
	_ = table.Flush() // a strings.Builder takes every write
	return list.String()
}

// settingsList is [config.Document] for a page.
func settingsList() string {
	var text strings.Builder
	for _, setting := range config.Schema() {
		head := "--" + setting.Name + ", " + setting.Env
		if setting.FileOnly {
			head = setting.Name + " (in the file only)"
		}
		fmt.Fprintf(&text, "  %s%s\n%s", head, standard(setting), strings.ReplaceAll(comment(meaning(setting)), "#", "     "))
	}
	return text.String() + fmt.Sprintf("\nThe first of flag, environment, file, causeway set and default counts. The file\nis %s unless --%s or %s names another: see causeway.yaml(5).\n",
		config.DefaultFile, config.FileFlag, config.FileEnv)
}

func standard(setting config.Setting) string {
	if setting.Default == "" {
		return ""
	}
	return " (default " + setting.Default + ")"
}

func meaning(setting config.Setting) string {
	text := sentence(setting.Doc) + "."
	if len(setting.Choices) > 0 {
		text += " One of: " + strings.Join(setting.Choices, ", ") + "."
	}
	return text
}

// SettingsPage is the man page of causewayd's settings file.
func SettingsPage(when time.Time, source string) string {
	var page strings.Builder
	fmt.Fprintf(&page, `.TH "CAUSEWAY.YAML" "5" "%s" "%s" "Causeway"
.SH NAME
causeway.yaml \- settings of causewayd
.SH SYNOPSIS
.I %s
.SH DESCRIPTION
YAML, one key and its value on each line; a line that begins with # is a comment.
Where there is no file, or a key is not in it, the default holds. The file is the
administrator's: a causewayd that runs as root takes none that others can write.
A flag of causewayd or the variable of a setting comes before this file, and the
file before what \fBcauseway set\fP has changed.
.PP
\fBcauseway config validate\fP checks it, and \fBsudo causewayd restart\fP has it read.
.SH SETTINGS
`, when.Format("Jan 2006"), roff(source), roff(config.DefaultFile))
	for _, setting := range config.Schema() {
		fmt.Fprintf(&page, ".TP\n\\fB%s\\fP:%s\n%s\n", roff(setting.Name), roff(standard(setting)), roff(meaning(setting)))
		if setting.Env != "" && !setting.FileOnly {
			fmt.Fprintf(&page, "Variable: %s.\n", roff(setting.Env))
		}
	}
	page.WriteString(".SH EXAMPLE\n.EX\nlog-level: debug\n.EE\n.SH SEE ALSO\n\\fBcausewayd(8)\\fP, \\fBcauseway-config(1)\\fP, \\fBcauseway-set(1)\\fP\n")
	return page.String()
}

// roff is a text of one line as it is to be read.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
