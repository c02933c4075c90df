package define

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Read reads a document in YAML or JSON. Its errors are *InvalidError.
func Read(data []byte) (Definition, error) {
	tree, problem := parse(data)
	if problem != nil {
		return Definition{}, &InvalidError{Problems: []Problem{*problem}}
	}
	var problems []Problem
	definition := value{node: tree, problems: &problems}.definition()
	if len(problems) == 0 {
		return definition, nil
	}
	slices.SortStableFunc(problems, byLine)
	named := min(len(problems), problemLimit)
	return Definition{}, &InvalidError{Problems: problems[:named], More: len(problems) - named}
}

func (v value) definition() Definition {
	var d Definition
	if v.kind == nothing {
		v.wrong("an empty document", wantDocument)
		return d
	}
	// What a secret puts into the environment must not be there already, wherever
	// it stands.
	variables := map[string]int{}
	v.object(map[string]func(value){
		"version":          func(v value) { d.Version = v.version() },
		"directory":        func(v value) { d.Directory = v.oneLine(pathLimit) },
		"motd_file":        func(v value) { d.MOTDFile = v.oneLine(pathLimit) },
		"vscode_proxy_uri": func(v value) { d.VSCodeProxyURI = v.url() },
		"environment":      func(v value) { d.Environment = v.environment(variables) },
		"secrets":          func(v value) { d.Secrets = v.secrets(variables) },
		"scripts":          func(v value) { d.Scripts = v.scripts() },
		"apps":             func(v value) { d.Apps = v.apps() },
		"metadata":         func(v value) { d.Metadata = v.metadata() },
		"monitoring":       func(v value) { d.Monitoring = v.monitoring() },
	}, "version")
	return d
}

func (v value) version() int {
	if v.is(number) && v.text != "1" {
		v.wrong(shorten(v.text), fmt.Sprintf("%d, the only version that this server knows", FormatVersion))
	}
	return FormatVersion
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ownVariables are those by which programs in the workspace know where they are.
var ownVariables = []string{
	"CODER", "CODER_WORKSPACE_NAME", "CODER_WORKSPACE_AGENT_NAME", "CODER_WORKSPACE_OWNER_NAME", "CODER_WORKSPACE_ID", "CODER_AGENT_TOKEN",
}

// variable checks the name of a variable.
func (v value) variable(line int, name string, seen map[string]int) {
	switch {
	case !variableName.MatchString(name) || len(name) > displayLimit:
		v.complain(line, v.path, "the variable "+quote(name), fmt.Sprintf("letters, digits and _, a letter or _ first, at most %d", displayLimit))
	case slices.Contains(ownVariables, strings.ToUpper(name)):
		v.complain(line, v.path, "the variable "+name, "another: the agent sets this one itself")
	case seen[name] != 0:
		v.complain(line, v.path, fmt.Sprintf("the variable %s, which line %d sets already", name, seen[name]), "one source for each variable")
	default:
		seen[name] = max(line, 1)
	}
}

func (v value) environment(seen map[string]int) map[string]string {
	read := map[string]string{}
	v.each(func(line int, key string, of value) {
		of.variable(line, key, seen)
		switch {
		case of.kind == nothing:
			of.wrong("nothing", `text; "" is an empty one`)
		case of.is(text) && len(of.text) > VariableLimit:
			of.wrong(fmt.Sprintf("%d bytes", len(of.text)), fmt.Sprintf("at most %d", VariableLimit))
		case strings.ContainsRune(of.text, 0):
			of.wrong("a NUL character", "text without it")
		}
		read[key] = of.text
	})
	if len(read) > EnvironmentCount {
		v.wrong(fmt.Sprintf("%d variables", len(read)), fmt.Sprintf("at most %d", EnvironmentCount))
	}
	return read
}

func (v value) secrets(variables map[string]int) []Secret {
	var read []Secret
	names := map[string]int{}
	// "NAME=value" is how other programs take secrets: it must not be quoted.
	if v.kind != list && v.kind != nothing {
		v.wrong(v.kind.String(), "a list")
		return nil
	}
	v.list(SecretCount, "secrets", func(v value) {
		if v.kind != mapping {
			v.wrong(v.kind.String(), "a mapping with name, and env or file")
			return
		}
		var s Secret
		var given value
		v.object(map[string]func(value){
			"name": func(v value) { s.Name = v.name(names) },
			"env": func(v value) {
				if s.Env = v.oneLine(displayLimit); s.Env != "" {
					v.variable(v.line, s.Env, variables)
				}
			},
			"file":  func(v value) { s.File = v.oneLine(pathLimit) },
			"value": func(v value) { given = v },
		}, "name")
		if v.kind == mapping && s.Env == "" && s.File == "" {
			v.complain(v.first(), v.path, "neither env nor file", "where the agent is to put the secret")
		}
		if given.kind != nothing {
			s.Value = given.secret(s)
		}
		read = append(read, s)
	})
	return read
}

// secret reads a secret's value, of which no problem tells anything but its size.
func (v value) secret(of Secret) []byte {
	if v.kind != text {
		v.wrong(v.kind.String(), "text; put it in quotes")
		return nil
	}
	if found, want := of.check([]byte(v.text)); found != "" {
		v.wrong(found, want)
	}
	return []byte(v.text)
}

var (
	itemName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	slugName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)
	keyName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./:-]*$`)
)

// name reads what identifies an item of a list.
func (v value) name(seen map[string]int) string {
	return v.identifier(itemName, "letters, digits, '.', '_' and '-', a letter or digit first", seen)
}

func (v value) identifier(form *regexp.Regexp, want string, seen map[string]int) string {
	if !v.is(text) {
		return ""
	}
	if len(v.text) > nameLimit || !form.MatchString(v.text) {
		v.wrong(quote(v.text), fmt.Sprintf("1 to %d %s", nameLimit, want))
	}
	v.unique(v.text, seen)
	return v.text
}

func (v value) scripts() []Script {
	var read []Script
	names := map[string]int{}
	v.list(ScriptCount, "scripts", func(v value) {
		var s Script
		v.object(map[string]func(value){
			"name":         func(v value) { s.Name = v.name(names) },
			"display_name": func(v value) { s.DisplayName = v.oneLine(displayLimit) },
			"run":          func(v value) { s.Run = v.block(ScriptLimit) },
			"on_start":     func(v value) { s.OnStart = v.flag() },
			"on_stop":      func(v value) { s.OnStop = v.flag() },
			"cron":         func(v value) { s.Cron = v.cron() },
			"timeout":      func(v value) { s.Timeout = v.duration(true, time.Second, scriptTimeoutMost) },
			"blocks_login": func(v value) { s.BlocksLogin = v.flag() },
			"log_path":     func(v value) { s.LogPath = v.oneLine(pathLimit) },
		}, "name", "run")
		if v.kind == mapping && !s.OnStart && !s.OnStop && s.Cron == "" {
			v.complain(v.first(), v.path, "none of on_start, on_stop and cron", "when it is to run")
		}
		if s.BlocksLogin && !s.OnStart {
			v.complain(v.first(), v.path, "blocks_login without on_start", "both: only what runs at the start can be waited for")
		}
		read = append(read, s)
	})
	return read
}

// The two ways to write a time of the clock.
var (
	cronFive = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	cronSix  = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
)

const wantCron = "minute, hour, day of month, month and weekday, as in \"30 2 * * 1-5\", with a second before them if there are six"

func (v value) cron() string {
	read := v.oneLine(displayLimit)
	if read == "" {
		return ""
	}
	fields := strings.Fields(read)
	parser := cronFive
	if len(fields) == 6 {
		parser = cronSix
	}
	// A zone or an @word would be known to some agents only.
	if len(fields) < 5 || len(fields) > 6 || strings.ContainsAny(read, "=@") {
		v.wrong(quote(read), wantCron)
		return read
	}
	schedule, err := parser.Parse(read)
	switch {
	case err != nil:
		v.wrong(fmt.Sprintf("%s (%s)", quote(read), shorten(err.Error())), wantCron)
	case schedule.Next(cronOrigin).IsZero():
		v.wrong(quote(read)+", which never comes", wantCron)
	}
	return strings.Join(fields, " ")
}

// cronOrigin is a moment from which a schedule is tried; four years on there was
// every day that there is.
var cronOrigin = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func (v value) url() string {
	read := v.oneLine(urlLimit)
	// Placeholders such as {{port}} are the editor's, and no part of a URL yet.
	parsed, err := url.Parse(strings.NewReplacer("{{", "", "}}", "").Replace(read))
	if read != "" && (err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "") {
		v.wrong(quote(read), "a URL that begins with http:// or https:// and a host")
	}
	return read
}
