package define

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// mistakes are the problems of a document, one line each.
func mistakes(t *testing.T, document string) []string {
	t.Helper()
	_, err := Read([]byte(document))
	var invalid *InvalidError
	if err != nil && !errors.As(err, &invalid) {
		t.Fatalf("%q: %T %v", document, err, err)
	}
	if invalid == nil {
		return nil
	}
	var lines []string
	for _, problem := range invalid.Problems {
		lines = append(lines, problem.String())
	}
	return lines
}

// TestAllMistakesAtOnce: each is named with its line and path, in the order of the
// lines, whatever else is wrong.
func TestAllMistakesAtOnce(t *testing.T) {
	got := mistakes(t, `version: 2
folder: /x
environment:
  A: 1
  1B: x
  CODER_AGENT_TOKEN: x
scripts:
  - name: a
    run: true
    on_start: "yes"
    timeout: 5 minutes
  - name: a
    cron: 61 * * * *
metadata: {key: x}
apps:
  - slug: Web
    url: localhost
    health: {url: http://x, interval: 0, threshold: 1.5}
`)
	want := []string{
		`line 1: version: found 2, want 1, the only version that this server knows`,
		`line 2: folder: found an unknown key, want one of apps, directory, environment, metadata, monitoring, motd_file, scripts, secrets, version, vscode_proxy_uri`,
		`line 4: environment.A: found a number (1), want text; put it in quotes`,
		`line 5: environment.1B: found the variable "1B", want letters, digits and _, a letter or _ first, at most 128`,
		`line 6: environment.CODER_AGENT_TOKEN: found the variable CODER_AGENT_TOKEN, want another: the agent sets this one itself`,
		`line 8: scripts[0]: found none of on_start, on_stop and cron, want when it is to run`,
		`line 9: scripts[0].run: found true or false (true), want text; put it in quotes`,
		`line 10: scripts[0].on_start: found "yes", want true or false`,
		`line 11: scripts[0].timeout: found "5 minutes", want a time from 1s to 24h, such as 30s, 5m or 1h30m, or 0`,
		`line 12: scripts[1].name: found "a", which stands already on line 8, want a name of its own`,
		`line 12: scripts[1].run: found nothing, want a value`,
		`line 13: scripts[1].cron: found "61 * * * *" (end of range (61) above maximum (59): 61), want ` + wantCron,
		`line 14: metadata: found a mapping, want a list`,
		`line 16: apps[0].slug: found "Web", want 1 to 64 lower-case letters and digits, single hyphens between them`,
		`line 17: apps[0].url: found "localhost", want a URL that begins with http:// or https:// and a host`,
		`line 18: apps[0].health.interval: found "0", want a time from 1s to 1h, such as 30s, 5m or 1h30m`,
		`line 18: apps[0].health.threshold: found 1.5, want a whole number from 1 to 100`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestMistakes: one of each kind, by what it says.
func TestMistakes(t *testing.T) {
	script := func(rest string) string { return "version: 1\nscripts:\n  - {name: a, run: x, " + rest + "}" }
	app := func(rest string) string { return "version: 1\napps:\n  - {slug: a, " + rest + "}" }
	tests := map[string][]string{
		"":                                      {"found an empty document"},
		"# only words":                          {"found an empty document"},
		"[]":                                    {"line 1: found a list, want a mapping"},
		"hello":                                 {`line 1: found "hello", want a mapping`},
		"directory: x":                          {"line 1: version: found nothing"},
		"version: 1\n---\nversion: 1":           {"line 3: found a second document"},
		"version: 1\nversion: 1":                {"line 2: version: found the same key as on line 1"},
		`{"version":1,` + "\n" + `"version":1}`: {"line 2: version: found the same key as on line 1"},
		"version: 1\n  x: [":                    {"not YAML"},
		"version: 1\nenvironment:\n\tA: x":      {"line 3: found a tab, want spaces: YAML is indented by them only"},
		"version: 1\nscripts:\n  - name: a\n  \trun: x\n":                                               {"line 4: found a tab"},
		"version: 1\nscripts:\n  - name: a\n    on_start: true\n    run: |\n\techo x\n":                 {"line 6: found a tab"},
		"version: 1\nscripts:\n  -\tname: a\n    run: x\n":                                              {"line 3: found a tab"},
		"version: 1\nenvironment:\n  A: \"x\n\tB\"\n":                                                   {"line 4: found a tab"},
		"{\n\t\"version\": 1,\n\t\"x\n}":                                                                {"line 3: found text that is not YAML"},
		"version: 1\ndirectory: &x y":                                                                   {`line 2: found YAML's "&"`},
		"version: 1\ndirectory: *x":                                                                     {`line 2: found YAML's "*"`},
		"version: 1\ndirectory: !!str x":                                                                {`line 2: found YAML's "!"`},
		"version: 1\n<<: {}":                                                                            {`line 2: found YAML's "<"`},
		"version: 1\n? a\n: b":                                                                          {`line 2: found YAML's "?"`},
		"version: 1\ndirectory: " + strings.Repeat("[", 17) + strings.Repeat("]", 17):                   {"line 2: found values nested more than 16 deep"},
		"version: 1\ndirectory:\n" + strings.Repeat("- ", 17) + "x":                                     {"line 3: found values nested more than 16 deep"},
		"version: 1\n\x00":                                                                              {"line 2: found a NUL byte"},
		"version: 1\n# \xff":                                                                            {"found bytes that are not UTF-8"},
		"version: 1\n\"a b\": 1":                                                                        {`line 2: ["a b"]: found an unknown key`},
		"version: 1\ndirectory: \"a\\nb\"":                                                              {"line 2: directory: found a character that cannot be printed"},
		"version: 1\ndirectory: \"\\e[2J\"":                                                             {"line 2: directory: found a character that cannot be printed"},
		"version: 1\ndirectory: ''":                                                                     {"line 2: directory: found an empty text"},
		"version: 1\nenvironment: {A: }":                                                                {"environment.A: found nothing"},
		"version: 1\nenvironment: {A: x, B: \"a\\0b\"}":                                                 {"environment.B: found a NUL character"},
		"version: 1\nvscode_proxy_uri: ftp://x":                                                         {"vscode_proxy_uri: found"},
		"version: 1\nenvironment: {A: x}\nsecrets: [{name: a, env: A}]":                                 {"line 3: secrets[0].env: found the variable A, which line 2 sets already"},
		"version: 1\nsecrets: [{name: a, env: A}, {name: b, env: A}]":                                   {"secrets[1].env: found the variable A, which line 2 sets already"},
		"version: 1\nsecrets: [{name: a}]":                                                              {"secrets[0]: found neither env nor file"},
		"version: 1\nsecrets: [{name: a, env: A, value: ''}]":                                           {"secrets[0].value: found an empty value"},
		"version: 1\nsecrets: [~]":                                                                      {"secrets[0]: found nothing"},
		script("on_stop: true, blocks_login: true"):                                                     {"scripts[0]: found blocks_login without on_start"},
		script("cron: '@daily'"):                                                                        {"scripts[0].cron: found"},
		script("cron: 'TZ=0'"):                                                                          {"scripts[0].cron: found"},
		script("cron: 'TZ=UTC 0 0 * * *'"):                                                              {"scripts[0].cron: found"},
		script("cron: '0 0 30 2 *'"):                                                                    {"which never comes"},
		script("cron: '0 0 * *'"):                                                                       {"scripts[0].cron: found"},
		script("on_start: true, timeout: 25h"):                                                          {"scripts[0].timeout: found \"25h\""},
		script("on_start: true, timeout: -1s"):                                                          {"scripts[0].timeout: found \"-1s\""},
		app("display_name: x"):                                                                          {"apps[0]: found neither url nor command"},
		app("url: http://x, command: x"):                                                                {"apps[0]: found url and command"},
		app("command: x, external: true"):                                                               {"apps[0]: found external without url"},
		app("url: http://x, external: true, subdomain: true"):                                           {"apps[0]: found external with"},
		app("command: x, health: {url: http://x, interval: 1s, threshold: 1}"):                          {"apps[0]: found command with"},
		app("url: x y, external: true"):                                                                 {"apps[0].url: found"},
		app("url: http://x, sharing: everybody"):                                                        {"apps[0].sharing: found \"everybody\", want one of owner, authenticated, organization, public"},
		app("url: http://x, health: {url: http://x}"):                                                   {"apps[0].health.interval: found nothing", "apps[0].health.threshold: found nothing"},
		"version: 1\nmetadata: [{key: -x, run: x, interval: 500ms}]":                                    {"metadata[0].key: found", "metadata[0].interval: found \"500ms\""},
		"version: 1\nmonitoring: {interval: 10s}":                                                       {"monitoring: found neither memory nor volumes"},
		"version: 1\nmonitoring: {volumes: [/, /]}":                                                     {"monitoring.volumes[1]: found \"/\", which stands already"},
		"version: 1\nmonitoring: {memory: true, datapoints: 0}":                                         {"monitoring.datapoints: found 0, want a whole number from 1 to 100"},
		"version: 1\nmonitoring: {memory: true, datapoints: 99999999999999999999}":                      {"monitoring.datapoints: found"},
		"version: 1\ndevcontainers: []":                                                                 {"devcontainers: found an unknown key"},
		"version: 1\nenvironment: {A: " + strings.Repeat("x", VariableLimit+1) + "}":                    {"environment.A: found 32001 bytes, want at most 32000"},
		script("on_start: true, log_path: " + strings.Repeat("x", pathLimit+1)):                         {"log_path: found 4097 bytes"},
		"version: 1\nsecrets: [{name: a, env: A, value: " + strings.Repeat("x", VariableLimit+1) + "}]": {"secrets[0].value: found 32001 bytes, want at most 32000"},
		"version: 1\nsecrets: [{name: a, file: f, value: " + strings.Repeat("x", SecretLimit+1) + "}]":  {"secrets[0].value: found 65537 bytes, want at most 65536"},
		"version: 1\nscripts: [{name: a, on_start: true, run: " + strings.Repeat("x", ScriptLimit+1) + "}]": {"scripts[0].run: found 65537 bytes"},
		"version: 1\nmetadata: [" + items(MetadataCount+1, "{key: k%d, run: x}") + "]":                      {"metadata: found 129 keys, want at most 128"},
		"version: 1\nscripts: [" + items(ScriptCount+1, "{name: k%d, run: x, on_stop: true}") + "]":         {"scripts: found 65 scripts, want at most 64"},
		"version: 1\napps: [" + items(AppCount+1, "{slug: k%d, command: x}") + "]":                          {"apps: found 65 apps, want at most 64"},
		"version: 1\nsecrets: [" + items(SecretCount+1, "{name: k%d, file: x}") + "]":                       {"secrets: found 65 secrets, want at most 64"},
		"version: 1\nmonitoring: {volumes: [" + items(VolumeCount+1, "/%d") + "]}":                          {"found 17 volumes, want at most 16", "neither memory"},
		"version: 1\nenvironment: {" + items(EnvironmentCount+1, "V%d: x") + "}":                            {"environment: found 513 variables, want at most 512"},
		"version: 1\n#" + strings.Repeat("x", DocumentLimit):                                                {"found more than 262144 bytes"},
	}
	for document, want := range tests {
		got := mistakes(t, document)
		if len(got) != len(want) {
			t.Errorf("%s:\n%s", shorten(document), strings.Join(got, "\n"))
			continue
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%s:\ngot  %s\nwant %s", shorten(document), got[i], want[i])
			}
		}
	}
}

func items(count int, form string) string {
	var list []string
	for i := range count {
		list = append(list, fmt.Sprintf(form, i))
	}
	return strings.Join(list, ", ")
}

// TestLimitsAreTaken: as many as there may be are good.
func TestLimitsAreTaken(t *testing.T) {
	for _, document := range []string{
		"metadata: [" + items(MetadataCount, "{key: k%d, run: x}") + "]", "scripts: [" + items(ScriptCount, "{name: k%d, run: x, on_stop: true}") + "]",
		"apps: [" + items(AppCount, "{slug: k%d, command: x}") + "]", "secrets: [" + items(SecretCount, "{name: k%d, file: x}") + "]",
		"environment: {" + items(EnvironmentCount, "V%d: x") + "}", "environment: {A: " + strings.Repeat("x", VariableLimit) + "}",
		"scripts: [{name: a, on_start: true, run: " + strings.Repeat("x", ScriptLimit) + "}]",
		"secrets: [{name: a, file: f, value: " + strings.Repeat("x", SecretLimit) + "}]",
		"scripts: [{name: a, run: x, cron: '*/5 0 2 29 2 *', timeout: 24h}]", "apps: [{slug: a, url: 'vscode://x/y', external: true}]",
		"scripts: [{name: a, run: x, on_start: true, timeout: 0}]",
		"scripts:\n  - name: a\n    on_start: true\n    run: |\n      make <<.\n      \tx\n", "environment: {\n\tA:\tx}",
	} {
		if got := mistakes(t, "version: 1\n"+document); got != nil {
			t.Errorf("%s: %s", shorten(document), strings.Join(got, "\n"))
		}
	}
}

// TestMistakesAreBounded: a document of mistakes is told a hundred.
func TestMistakesAreBounded(t *testing.T) {
	_, err := Read([]byte("version: 1\n" + strings.ReplaceAll(items(150, "k%d: x"), ", ", "\n")))
	var invalid *InvalidError
	if !errors.As(err, &invalid) || len(invalid.Problems) != problemLimit || invalid.More != 50 ||
		!strings.HasPrefix(err.Error(), "read agent definition: 150 mistakes:\n  line 2: k0: found") || !strings.HasSuffix(err.Error(), "\n  and 50 more") {
		t.Errorf("%v", err)
	}
}

// TestSecretsAreNotTold: whatever is wrong around a secret, its value is not said,
// and it is nowhere in what is kept or printed.
func TestSecretsAreNotTold(t *testing.T) {
	for _, document := range []string{
		"version: 1\nsecrets: [{name: a, value: hunter2}]",
		"version: 1\nsecrets: [{name: a, env: A, value: {hunter2: hunter2}}]",
		"version: 1\nsecrets: [{name: a, env: A, value: \"hunter2\\0\"}]",
		"version: 1\nsecrets:\n  - name: a\n    env: A\n    value: &hunter2 x",
		"version: 1\nsecrets:\n  - name: a\n    env: A\n    value: !hunter2",
		"version: 1\nsecrets:\n  - name: a\n    env: A\n    value: \"hunter2",
		"version: 1\nsecrets:\n  - name: a\n    env: A\n    value: hunter2: x",
		"version: 1\nsecrets:\n  - name: a\n    env: A\n    value: @hunter2",
		"version: 1\nsecrets:\n  - name: a\n    env: A\n    value: [hunter2",
	} {
		_, err := Read([]byte(document))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", document, err)
		}
	}
	definition := read(t, "version: 1\nsecrets: [{name: a, env: A, value: hunter2}]")
	change, err := definition.Change("alice")
	if err != nil || string(change.Values["a"]) != "hunter2" || !slices.Equal(change.Secrets, []string{"a"}) || change.By != "alice" {
		t.Errorf("%+v, %v", change, err)
	}
	for _, form := range []string{string(change.Document), fmt.Sprintf("%+v %+v", definition, change)} {
		if strings.Contains(form, "hunter2") || strings.Contains(form, "104 117") {
			t.Errorf("%s", form)
		}
	}
	for name, value := range map[string]string{"a": "x\x00", "b": "x"} {
		var refused *SecretError
		if err := definition.CheckSecret(name, []byte(value)); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := definition.CheckSecret("a", []byte("x")); err != nil {
		t.Error(err)
	}
}

// TestHostileDocuments: what makes the YAML library slow, large or lost is refused
// in a moment.
func TestHostileDocuments(t *testing.T) {
	for name, unit := range map[string]string{
		"lists": "[", "mappings": "{a: ", "dashes": "- ", "keys": "? ", "tags": "! ", "colons": ":", "anchors": "- &a *a\n", "ends": "]", "lines": "a: b\n", "items": "- a\n", "quotes": "\"", "braces": "{",
	} {
		started := time.Now()
		document := strings.Repeat(unit, DocumentLimit/len(unit))
		if got := mistakes(t, document); got == nil {
			t.Errorf("%s: taken", name)
		}
		// Without the limits it is minutes, or all of the memory.
		if took := time.Since(started); took > 10*time.Second {
			t.Errorf("%s: %s", name, took)
		}
	}
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	if got := mistakes(t, deep); len(got) != 1 || !strings.Contains(got[0], "nested more than 16 deep") {
		t.Errorf("%v", got)
	}
}

// FuzzRead: whatever stands in a document, it has problems or reads the same again
// from what is kept and from what is shown.
func FuzzRead(f *testing.F) {
	f.Add(string(Example))
	f.Add(`{"version":1,"environment":{"A":"\u0041 # x"},"scripts":[{"name":"a","run":" x\n\ty\n\n","cron":"* * * * *"}]}`)
	f.Add("version: 1\nsecrets:\n- name: a\n  env: A\n  value: \"\\x01\"\n")
	f.Add("version: 1\nscripts: [{name: a, run: |\n x\n}]")
	f.Fuzz(func(t *testing.T, document string) {
		definition, err := Read([]byte(document))
		if err != nil {
			var invalid *InvalidError
			if !errors.As(err, &invalid) || len(invalid.Problems) == 0 {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		first := kept(t, definition)
		shown, err := YAML(first)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range [][]byte{first, shown} {
			again, err := Read(form)
			if err != nil {
				t.Fatalf("%s\n%v", form, err)
			}
			if second := kept(t, again); !bytes.Equal(first, second) {
				t.Fatalf("%s\nbecame\n%s", first, second)
			}
		}
		if loaded, err := Load(first); err != nil || !bytes.Equal(kept(t, loaded), first) {
			t.Fatalf("loaded %v, %v", loaded, err)
		}
	})
}
