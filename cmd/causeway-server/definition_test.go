package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/server/define"
)

// defined makes a database with an agent.
func defined(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if got := cli(t, nil, "user", "create", "alice", "--create", "--data-dir", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	ok(t, "workspace", "create", "alice/myws", "--data-dir", dir)
	if got := cli(t, nil, "agent", "create", "alice/myws/main", "--data-dir", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	return dir
}

// TestConfigure walks the way of somebody who configures an agent, by what each
// command prints.
func TestConfigure(t *testing.T) {
	dir := defined(t)
	at := []string{"--data-dir", dir}
	run := func(stdin string, args ...string) result { return typed(t, stdin, append(args, at...)...) }
	if got := run("", "agent", "show", "alice/myws/main"); got.code != 0 || !strings.Contains(got.stdout, "Nobody has configured agent alice/myws/main (revision 0)") {
		t.Errorf("%+v", got)
	}
	// It is good for configure all the same.
	if got := run(run("", "agent", "show", "alice/myws/main").stdout, "agent", "configure", "-", "--check"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	file := filepath.Join(t.TempDir(), "agent.yaml")
	example := run("", "agent", "example").stdout
	if example != string(define.Example) {
		t.Errorf("example printed\n%s", example)
	}
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run("", "agent", "configure", "--check", file); got.code != 0 || got.stdout != file+" is good.\n" {
		t.Errorf("%+v", got)
	}
	got := run("", "agent", "configure", "alice/myws/main", file)
	if got.code != 0 || !strings.HasPrefix(got.stdout, "Configured agent alice/myws/main (revision 1). It reads this within seconds when it is connected.\nStart scripts run when the agent starts the next time: dotfiles.\nSecret ") ||
		!strings.Contains(got.stdout, "Secret npm-token has no value yet. Set it: causeway-server --data-dir "+dir+" agent secret set alice/myws/main npm-token\n") {
		t.Errorf("%+v", got)
	}
	shown := run("", "agent", "show", "alice/myws/main")
	if shown.code != 0 || !strings.HasPrefix(shown.stdout, "# Agent alice/myws/main, revision 1, changed ") || !strings.Contains(shown.stdout, "by causeway-server\n") || !strings.Contains(shown.stdout, "EDITOR: vim\n") {
		t.Errorf("%+v", shown)
	}
	if got := run(shown.stdout, "agent", "configure", "alice/myws/main", "-"); got.code != 0 || !strings.HasPrefix(got.stdout, "Agent alice/myws/main is configured so already (revision 1).\n") {
		t.Errorf("what show prints is another: %+v", got)
	}
	if got := run(strings.ReplaceAll(shown.stdout, "vim", "nano"), "agent", "configure", "alice/myws/main", "-", "--revision", "1"); got.code != 0 || !strings.Contains(got.stdout, "(revision 2)") || strings.Contains(got.stdout, "Start scripts") {
		t.Errorf("%+v", got)
	}
	if got := run(shown.stdout, "agent", "configure", "alice/myws/main", "-", "--revision", "1"); got.code != exitExists || !strings.Contains(got.stderr, "its revision is 2, not 1; read it again: ") {
		t.Errorf("%+v", got)
	}
	if got := run(strings.Replace(shown.stdout, "timeout: 5m0s", "timeout: 6m0s", 1), "agent", "configure", "alice/myws/main", "-"); !strings.Contains(got.stdout, "the next time: dotfiles.\n") {
		t.Errorf("another start script: %+v", got)
	}
	// Nothing but the schema and the example needs no database.
	if got := run("", "agent", "example", "--schema"); got.code != 0 || !json.Valid([]byte(got.stdout)) {
		t.Errorf("%+v", got)
	}
}

func TestConfigureMistakes(t *testing.T) {
	dir := defined(t)
	for _, test := range []struct {
		stdin string
		args  []string
		code  int
		say   string
	}{
		{"version: 1\nscripts: [{name: a}]\nx: 1\n", []string{"configure", "alice/myws/main", "-"}, exitInvalid, "-: read agent definition: 3 mistakes:\n  line 2: scripts[0].run: found nothing"},
		{"version: 1\nsecrets: [{name: a, env: A, value: [hunter2]}]\n", []string{"configure", "alice/myws/main", "-"}, exitInvalid, "secrets[0].value: found a list, want text"},
		{"", []string{"configure", "alice/myws/main", "/no/such/file"}, exitNotFound, "/no/such/file"},
		{"version: 1", []string{"configure", "alice/myws/none", "-"}, exitNotFound, "agent list alice"},
		{"version: 1", []string{"configure", "alice/myws", "-"}, exitUsage, "want USER/WORKSPACE/AGENT"},
		{"version: 1", []string{"configure", "alice/myws/main"}, exitUsage, "the argument FILE is missing"},
		{"", []string{"show", "alice/myws/none"}, exitNotFound, "agent list alice"},
		{"hunter2", []string{"secret", "set", "alice/myws/main", "none"}, exitInvalid, `set secret "none": found no secret of this name`},
		{"", []string{"secret", "unset", "alice/myws/main", "none"}, exitNotFound, `secret "none": not found`},
		{"", []string{"secret", "set", "alice/myws/main"}, exitUsage, "the argument NAME is missing"},
		{"", []string{"secret", "set", "alice/myws/main", "a", "hunter2"}, exitUsage, "3 arguments were given, and it takes 2: USER/WORKSPACE/AGENT NAME"},
		{"version: 1\nenvironment:\n\tA: x\n", []string{"configure", "--check", "-"}, exitInvalid, "line 3: found a tab, want spaces: YAML is indented by them only"},
	} {
		got := typed(t, test.stdin, append(append([]string{"agent"}, test.args...), "--data-dir", dir)...)
		if got.code != test.code || !strings.Contains(got.stderr, test.say) || strings.Contains(got.stdout+got.stderr, "hunter2") {
			t.Errorf("%v: %+v", test.args, got)
		}
	}
	// Without a database the check works all the same, and what needs one says so.
	none := filepath.Join(t.TempDir(), "none")
	if got := typed(t, "version: 1", "agent", "configure", "--check", "-", "--data-dir", none); got.code != 0 {
		t.Errorf("%+v", got)
	}
	if got := typed(t, "version: 1", "agent", "configure", "a/b/c", "-", "--data-dir", none); got.code != exitNotFound {
		t.Errorf("%+v", got)
	}
}

// TestSecretCommands: values go in by standard input, and never come out.
func TestSecretCommands(t *testing.T) {
	dir := defined(t)
	run := func(stdin string, args ...string) result { return typed(t, stdin, append(args, "--data-dir", dir)...) }
	if got := run("version: 1\nsecrets: [{name: a, env: A}, {name: f, file: f}, {name: v, env: V, value: hunter2}]", "agent", "configure", "alice/myws/main", "-"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	outputs := ""
	for _, step := range []struct{ stdin, name, want string }{
		{"hunter2\r\n", "a", "Set secret a of agent alice/myws/main. It reads this within seconds when it is connected.\n"},
		{"hunter2\n", "a", "Secret a of agent alice/myws/main was so already.\n"},
		{"hunter2\n", "f", "Set secret f of agent alice/myws/main. It reads this within seconds when it is connected.\n"},
	} {
		got := run(step.stdin, "agent", "secret", "set", "alice/myws/main", step.name)
		if got.code != 0 || got.stdout != step.want {
			t.Errorf("%+v", got)
		}
		outputs += got.stdout + got.stderr
	}
	s := opened(t, dir)
	agents, err := s.Agents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept, err := s.Definition(t.Context(), agents[0].ID)
	if err != nil || len(kept.Secrets) != 3 || string(kept.Secrets[0].Value) != "hunter2" || string(kept.Secrets[1].Value) != "hunter2\n" || string(kept.Secrets[2].Value) != "hunter2" {
		t.Errorf("%+v, %v", kept, err)
	}
	for _, args := range [][]string{{"agent", "show", "alice/myws/main"}, {"agent", "show", "alice/myws/main", "--json"}} {
		got := run("", args...)
		outputs += got.stdout + got.stderr
		if got.code != 0 {
			t.Errorf("%+v", got)
		}
	}
	if strings.Contains(outputs, "hunter2") || !strings.Contains(outputs, "# Secret a has a value since ") {
		t.Errorf("%s", outputs)
	}
	if got := run("", "agent", "secret", "unset", "alice/myws/main", "a"); got.code != 0 || !strings.HasPrefix(got.stdout, "Unset secret a") {
		t.Errorf("%+v", got)
	}
	if got := run("", "agent", "show", "alice/myws/main"); !strings.Contains(got.stdout, "# Secret a has no value yet.\n") {
		t.Errorf("%+v", got)
	}
	if got := run("", "agent", "secret", "set", "alice/myws/main", "a"); got.code != exitInvalid {
		t.Errorf("an empty value: %+v", got)
	}
}

func TestBannerCommands(t *testing.T) {
	dir := defined(t)
	run := func(args ...string) result {
		return cli(t, nil, append(append([]string{"banner"}, args...), "--data-dir", dir)...)
	}
	if got := run("set", "--color", "#8a1c1c", "Maintenance\non Friday", "two"); got.code != 0 || got.stdout != "Set. Agents show it within two minutes.\n" {
		t.Errorf("%+v", got)
	}
	if got := run("list"); got.code != 0 || got.stdout != "SHOWN  COLOR    MESSAGE\nyes    #8a1c1c  Maintenance on Friday\nyes    #8a1c1c  two\n" {
		t.Errorf("%+v", got)
	}
	for _, bad := range [][]string{{"set", ""}, {"set", "\x1b[2J"}, {"set", "--color", "red", "x"}, append([]string{"set"}, strings.Split(strings.Repeat("x", define.BannerCount+1), "")...)} {
		if got := run(bad...); got.code != exitInvalid {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	if got := run("set"); got.code != exitUsage {
		t.Errorf("%+v", got)
	}
	if got := run("clear"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	if got := run("list", "--json"); got.code != 0 || !strings.Contains(got.stdout, `"banners": []`) {
		t.Errorf("%+v", got)
	}
}

// TestDefinitionJSON holds the version and the members of the JSON of these
// commands.
func TestDefinitionJSON(t *testing.T) {
	dir := defined(t)
	for _, test := range []struct {
		stdin, args string
		members     []string
	}{
		{"", "agent show alice/myws/main", []string{"agent", "revision", "updated_at", "updated_by", "definition", "secrets"}},
		{"version: 1\nsecrets: [{name: a, env: A}]", "agent configure alice/myws/main -", []string{"agent", "revision", "changed", "secrets"}},
		{"version: 1", "agent configure --check -", []string{"definition"}},
		{"x", "agent secret set alice/myws/main a", []string{"agent", "secret", "set", "changed"}},
		{"", "agent secret unset alice/myws/main a", []string{"agent", "secret", "set", "changed"}},
		{"", "agent show alice/myws/main", []string{"agent", "revision", "updated_at", "updated_by", "definition", "secrets"}},
		{"", "banner set hello", []string{"banners"}},
		{"", "banner list", []string{"banners"}},
		{"", "banner clear", []string{"banners"}},
	} {
		got := typed(t, test.stdin, append(strings.Fields(test.args), "--json", "--data-dir", dir)...)
		var body map[string]any
		if err := json.Unmarshal([]byte(got.stdout), &body); err != nil || got.code != 0 {
			t.Fatalf("%s: %v in %+v", test.args, err, got)
		}
		if body["version"] != float64(outputVersion) || len(body) != len(test.members)+1 {
			t.Errorf("%s: %v", test.args, body)
		}
		for _, member := range test.members {
			if _, found := body[member]; !found {
				t.Errorf("%s: no %q in %v", test.args, member, body)
			}
		}
	}
}
