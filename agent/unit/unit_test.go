//go:build unix

package unit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"howett.net/plist"
)

const secret = "cwa_id_s3cret"

var wanted = Options{Program: "/opt/causeway/causeway-agent", URL: "https://causeway.example.com/100%", Token: secret}

// told is the plan as it is said, with what the files hold.
func told(steps []step) string {
	var lines []string
	for _, each := range steps {
		lines = append(lines, each.String())
	}
	return strings.Join(lines, "\n")
}

func file(t *testing.T, steps []step, suffix string) step {
	t.Helper()
	for _, each := range steps {
		if strings.HasSuffix(each.write, suffix) {
			return each
		}
	}
	t.Fatalf("no file %s in %s", suffix, told(steps))
	return step{}
}

func TestUserPlan(t *testing.T) {
	steps := userPlan(wanted, "/home/al", "al")
	want := `write /home/al/.config/causeway-agent/token
write /home/al/.config/systemd/user/causeway-agent.service
run /usr/bin/systemctl --user daemon-reload
run /usr/bin/systemctl --user enable causeway-agent.service
run /usr/bin/systemctl --user restart causeway-agent.service
run /usr/bin/loginctl enable-linger`
	if got := told(steps); got != want {
		t.Errorf("got\n%s", got)
	}
	if token := file(t, steps, "token"); token.mode != 0o600 || token.content != secret+"\n" {
		t.Errorf("token: %v", token.mode)
	}
	text := file(t, steps, ".service").content
	if !strings.Contains(text, `ExecStart="/opt/causeway/causeway-agent" run --url "https://causeway.example.com/100%%" --token-file "%h/.config/causeway-agent/token"`) || strings.Contains(text, secret) || !strings.Contains(text, "\nKillMode=process\n") {
		t.Errorf("unit:\n%s", text)
	}
	verify(t, "causeway-agent.service", strings.ReplaceAll(text, wanted.Program, "/bin/true"))
	removed := told(userRemoval("/home/al"))
	for _, each := range steps[:2] {
		if !strings.Contains(removed, "remove "+each.write) {
			t.Errorf("%s stays", each.write)
		}
	}
}

// verify has systemd itself read the unit.
func verify(t *testing.T, name, text string) {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not here")
		return
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command(program, "verify", "--man=no", path).CombinedOutput(); err != nil || strings.Contains(string(output), path) {
		t.Errorf("systemd-analyze: %v\n%s", err, output)
	}
}

func TestSystemPlan(t *testing.T) {
	o := wanted
	o.Account = "al"
	const template = "ExecStart=/usr/bin/causeway-agent run\n"
	own, packaged := systemPlan(o, template, false), systemPlan(o, template, true)
	want := `write /etc/causeway/agent-al.env
write /etc/causeway/agent-al.token
write /etc/systemd/system/causeway-agent@.service
run /usr/bin/systemctl daemon-reload
run /usr/bin/systemctl enable causeway-agent@al.service
run /usr/bin/systemctl restart causeway-agent@al.service`
	if got := told(own); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := told(packaged); got != strings.Replace(want, "write /etc/systemd/system/causeway-agent@.service\n", "", 1) {
		t.Errorf("with the package:\n%s", got)
	}
	if text := file(t, own, "@.service").content; text != "ExecStart=/opt/causeway/causeway-agent run\n" {
		t.Errorf("unit: %s", text)
	}
	if token := file(t, own, ".token"); token.mode != 0o600 {
		t.Errorf("token: %v", token.mode)
	}
	if text := file(t, own, ".env").content; text != "CAUSEWAY_AGENT_URL=https://causeway.example.com/100%\n" {
		t.Errorf("environment: %s", text)
	}
	removed := told(systemRemoval(o))
	for _, each := range packaged[:2] {
		if !strings.Contains(removed, "remove "+each.write) {
			t.Errorf("%s stays", each.write)
		}
	}
}

func TestLaunchdPlan(t *testing.T) {
	for account, want := range map[string]string{
		"": `write /Users/al/Library/Application Support/causeway-agent/token
run /bin/launchctl bootout gui/501/com.causewayhq.agent
write /Users/al/Library/LaunchAgents/com.causewayhq.agent.plist
run /bin/launchctl bootstrap gui/501 /Users/al/Library/LaunchAgents/com.causewayhq.agent.plist`,
		"al": `write /Users/al/Library/Application Support/causeway-agent/token
run /bin/launchctl bootout system/com.causewayhq.agent.al
write /Library/LaunchDaemons/com.causewayhq.agent.al.plist
run /bin/launchctl bootstrap system /Library/LaunchDaemons/com.causewayhq.agent.al.plist`,
	} {
		o := wanted
		o.Account = account
		steps, err := launchdPlan(o, "/Users/al", 501)
		if err != nil || told(steps) != want {
			t.Errorf("%q: %v\n%s", account, err, told(steps))
		}
		if token := file(t, steps, "token"); token.mode != 0o600 || token.owner != account {
			t.Errorf("token: %v of %q", token.mode, token.owner)
		}
		var read job
		if _, err := plist.Unmarshal([]byte(file(t, steps, ".plist").content), &read); err != nil {
			t.Fatal(err)
		}
		if arguments := strings.Join(read.ProgramArguments, " "); arguments != "/opt/causeway/causeway-agent run --url https://causeway.example.com/100% --token-file /Users/al/Library/Application Support/causeway-agent/token" ||
			read.UserName != account || !read.KeepAlive || !read.RunAtLoad || !read.AbandonProcessGroup {
			t.Errorf("%+v", read)
		}
		removed := told(launchdRemoval(o, "/Users/al", 501))
		for _, each := range steps {
			if each.write != "" && !strings.Contains(removed, "remove "+each.write) {
				t.Errorf("%s stays", each.write)
			}
		}
	}
}

func TestTasksPlan(t *testing.T) {
	for account, parts := range map[string][2]string{"": {"<LogonTrigger>", "InteractiveToken"}, "al": {"<BootTrigger>", "S4U"}} {
		o := wanted
		o.Account = account
		steps, err := tasksPlan(o, "/sys", "/data", `PC\al`)
		if err != nil || !strings.Contains(told(steps), `run /sys/schtasks.exe /Create /F /TN \Causeway Agent /XML /data/causeway-agent/task.xml`) {
			t.Errorf("%v\n%s", err, told(steps))
		}
		raw := []byte(file(t, steps, "task.xml").content)
		var units []uint16
		for pair := range slices.Chunk(raw, 2) {
			units = append(units, uint16(pair[0])|uint16(pair[1])<<8)
		}
		text := string(utf16.Decode(units))
		for _, part := range append(parts[:], `PC\al`, "<ExecutionTimeLimit>PT0S<", "<RestartOnFailure>", "LeastPrivilege", "&#34;https://causeway.example.com/100%&#34;") {
			if !strings.Contains(text, part) {
				t.Errorf("%q: no %s in\n%s", account, part, text)
			}
		}
		if strings.Contains(text, secret) {
			t.Error("the token is in the task")
		}
		if removed := told(tasksRemoval("/sys", "/data")); !strings.Contains(removed, `/Delete /F /TN \Causeway Agent`) || !strings.Contains(removed, "remove "+file(t, steps, "token").write) {
			t.Errorf("taken back:\n%s", removed)
		}
	}
}

// TestApply: files get their mode, never wider meanwhile; a failing step ends
// it, an optional one does not; a dry run changes nothing; no line has the token.
func TestApply(t *testing.T) {
	dir := t.TempDir()
	var said []string
	o := Options{Say: func(line string) { said = append(said, line) }}
	steps := []step{
		{write: filepath.Join(dir, "a", "token"), content: secret, mode: 0o600},
		{run: []string{"/bin/sh", "-c", "echo no such unit >&2; exit 4"}, optional: true, remedy: "do it by hand"},
		{write: filepath.Join(dir, "b", "unit"), content: "x", mode: 0o644}, {remove: filepath.Join(dir, "nothing")},
		{run: []string{"/bin/sh", "-c", "echo broken; exit 1"}},
		{write: filepath.Join(dir, "never"), content: "x", mode: 0o600},
	}
	dry := o
	dry.DryRun = true
	if err := apply(t.Context(), dry, steps); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 || len(said) != len(steps) || !strings.HasPrefix(said[0], "would write ") {
		t.Errorf("a dry run left %v, said %q", left, said)
	}
	said = nil
	for range 2 { // the second finds what the first has written
		err := apply(t.Context(), o, steps)
		if err == nil || !strings.Contains(err.Error(), "broken") {
			t.Errorf("%v", err)
		}
	}
	if text := strings.Join(said, "\n"); strings.Contains(text, secret) || !strings.Contains(text, "no such unit; do it by hand") {
		t.Errorf("said %s", text)
	}
	for path, mode := range map[string]os.FileMode{"a/token": 0o600, "b/unit": 0o644, "a": os.ModeDir | 0o700, "b": os.ModeDir | 0o755} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", ".causeway*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "never")); err == nil {
		t.Error("it went on after a failure")
	}
	// A full disk, or any other failure of a file, leaves the old one.
	blocked := step{write: filepath.Join(dir, "a", "token", "below"), content: "x", mode: 0o600}
	if err := apply(t.Context(), o, []step{blocked}); err == nil {
		t.Error("a file below a file")
	}
	if text := fmt.Sprintf("%v %+v", wanted, wanted); strings.Contains(text, secret) {
		t.Errorf("the token prints: %s", text)
	}
}

func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"relative program": func(o *Options) { o.Program = "causeway-agent" }, "quote": func(o *Options) { o.Program = `/a"b` },
		"no URL": func(o *Options) { o.URL = "" }, "URL with a quote": func(o *Options) { o.URL = `https://a"b` }, "no token": func(o *Options) { o.Token = "" },
		"account with a path": func(o *Options) { o.Account = "../x" }, "account like a flag": func(o *Options) { o.Account = "-x" },
	} {
		o := wanted
		change(&o)
		if err := o.check(true); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := wanted.check(true); err != nil {
		t.Error(err)
	}
	if err := (Options{Program: "/a"}).check(false); err != nil {
		t.Error(err)
	}
}
