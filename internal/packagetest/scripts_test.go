package packagetest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stage is a machine on which one maintainer script runs.
type stage struct {
	script string   // below packaging/linux
	args   []string // as dpkg or rpm gives them
	booted bool     // systemd is process 1
	state  string   // of the service
	files  []string // that are there before
	env    []string
	fails  []string // tools that end with 1
	off    bool     // an administrator has disabled the service

	calls []string // wanted, exactly and in this order
	there []string // files afterwards
	gone  []string
	says  string
}

const marker = "run/causeway.installing"

// The calls that many cases share.
var (
	enabled = []string{
		"deb-systemd-helper unmask causewayd.service",
		"deb-systemd-helper --quiet was-enabled causewayd.service", "deb-systemd-helper enable causewayd.service",
	}
	disabled = []string{
		"deb-systemd-helper unmask causewayd.service",
		"deb-systemd-helper --quiet was-enabled causewayd.service", "deb-systemd-helper update-state causewayd.service",
	}
	reload   = "systemctl --system daemon-reload"
	ask      = "systemctl show --property=ActiveState --value causewayd.service"
	forgive  = "systemctl reset-failed causewayd.service causewayd-restore.service causeway-wait-online.service"
	debStop  = "deb-systemd-invoke stop causewayd.service causewayd-restore.service"
	debStart = "deb-systemd-invoke start causewayd.service"
	again    = "deb-systemd-invoke restart causewayd.service"
)

func with(calls []string, more ...string) []string { return slices.Concat(calls, more) }

var stages = map[string]stage{
	// dpkg
	"deb/install/preinst":     {script: "deb/causeway.preinst", args: []string{"install"}, there: []string{marker}},
	"deb/upgrade/preinst":     {script: "deb/causeway.preinst", args: []string{"upgrade", "1.0"}, gone: []string{marker}},
	"deb/install":             {script: "deb/causeway.postinst", args: []string{"configure", ""}, booted: true, state: "inactive", files: []string{marker}, calls: with(enabled, reload, debStart), gone: []string{marker}},
	"deb/install by a user":   {script: "deb/causeway.postinst", args: []string{"configure", ""}, booted: true, state: "inactive", files: []string{marker}, env: []string{"SUDO_UID=1000"}, calls: with(enabled, "causewayd operator add 1000", reload, debStart)},
	"deb/install by pkexec":   {script: "deb/causeway.postinst", args: []string{"configure", ""}, booted: true, state: "inactive", files: []string{marker}, env: []string{"PKEXEC_UID=1001"}, calls: with(enabled, "causewayd operator add 1001", reload, debStart)},
	"deb/install by root":     {script: "deb/causeway.postinst", args: []string{"configure", ""}, booted: true, state: "inactive", files: []string{marker}, env: []string{"SUDO_UID=0"}, calls: with(enabled, reload, debStart)},
	"deb/no operator":         {script: "deb/causeway.postinst", args: []string{"configure", ""}, booted: true, state: "inactive", files: []string{marker}, env: []string{"SUDO_UID=1000"}, fails: []string{"causewayd"}, calls: with(enabled, "causewayd operator add 1000", reload, debStart), says: "run: sudo causewayd operator add 1000"},
	"deb/install in an image": {script: "deb/causeway.postinst", args: []string{"configure", ""}, files: []string{marker}, calls: enabled, gone: []string{marker}},
	"deb/does not start":      {script: "deb/causeway.postinst", args: []string{"configure", ""}, booted: true, state: "inactive", files: []string{marker}, fails: []string{"deb-systemd-invoke"}, calls: with(enabled, reload, debStart), says: "see: systemctl status causewayd.service"},
	"deb/upgrade":             {script: "deb/causeway.postinst", args: []string{"configure", "1.0"}, booted: true, state: "active", calls: with(enabled, reload, ask, again)},
	"deb/upgrade by a user":   {script: "deb/causeway.postinst", args: []string{"configure", "1.0"}, booted: true, state: "active", env: []string{"SUDO_UID=1000"}, calls: with(enabled, reload, ask, again)},
	"deb/upgrade of failed":   {script: "deb/causeway.postinst", args: []string{"configure", "1.0"}, booted: true, state: "failed", calls: with(enabled, reload, ask, again)},
	"deb/upgrade of crashed":  {script: "deb/causeway.postinst", args: []string{"configure", "1.0"}, booted: true, state: "activating", calls: with(enabled, reload, ask, again)},
	"deb/upgrade of stopped":  {script: "deb/causeway.postinst", args: []string{"configure", "1.0"}, booted: true, state: "inactive", calls: with(enabled, reload, ask)},
	"deb/upgrade of disabled": {script: "deb/causeway.postinst", args: []string{"configure", "1.0"}, booted: true, state: "inactive", off: true, calls: with(disabled, reload, ask)},
	"deb/upgrade in an image": {script: "deb/causeway.postinst", args: []string{"configure", "1.0"}, calls: enabled},
	"deb/removal broken off":  {script: "deb/causeway.postinst", args: []string{"abort-remove"}, booted: true, state: "inactive", calls: with(enabled, reload, debStart)},
	"deb/trigger":             {script: "deb/causeway.postinst", args: []string{"triggered", "x"}, booted: true},
	"deb/upgrade/prerm":       {script: "deb/causeway.prerm", args: []string{"upgrade", "2.0"}, booted: true, state: "active"},
	"deb/failed/prerm":        {script: "deb/causeway.prerm", args: []string{"failed-upgrade", "1.0"}, booted: true, state: "active"},
	"deb/remove/prerm":        {script: "deb/causeway.prerm", args: []string{"remove"}, booted: true, state: "active", calls: []string{debStop, "causewayd cleanup"}},
	"deb/remove in an image":  {script: "deb/causeway.prerm", args: []string{"remove"}, calls: []string{"causewayd cleanup"}},
	"deb/cleanup fails":       {script: "deb/causeway.prerm", args: []string{"remove"}, booted: true, fails: []string{"causewayd", "deb-systemd-invoke"}, calls: []string{debStop, "causewayd cleanup"}, says: "may be left"},
	"deb/upgrade/postrm":      {script: "deb/causeway.postrm", args: []string{"upgrade", "2.0"}, booted: true, files: []string{marker, "var/lib/causeway/service.json"}, there: []string{marker, "var/lib/causeway/service.json"}},
	"deb/remove/postrm":       {script: "deb/causeway.postrm", args: []string{"remove"}, booted: true, files: []string{"usr/bin/deb-systemd-helper", "var/lib/causeway/service.json"}, calls: []string{"deb-systemd-helper mask causewayd.service", reload, forgive}, there: []string{"var/lib/causeway/service.json"}},
	"deb/purge":               {script: "deb/causeway.postrm", args: []string{"purge"}, booted: true, files: []string{"usr/bin/deb-systemd-helper", "var/lib/causeway/service.json", "var/lib/other"}, calls: []string{"deb-systemd-helper purge causewayd.service", "deb-systemd-helper unmask causewayd.service", reload, forgive}, gone: []string{"var/lib/causeway"}, there: []string{"var/lib/other"}},
	"deb/purge in an image":   {script: "deb/causeway.postrm", args: []string{"purge"}, files: []string{"var/lib/causeway/service.json"}, gone: []string{"var/lib/causeway"}},
	// rpm
	"rpm/install":             {script: "rpm/causeway.postinst", args: []string{"1"}, booted: true, state: "inactive", calls: []string{"systemctl --no-reload enable causewayd.service", reload, "systemctl start causewayd.service"}},
	"rpm/install by a user":   {script: "rpm/causeway.postinst", args: []string{"1"}, booted: true, state: "inactive", env: []string{"SUDO_UID=1000"}, calls: []string{"systemctl --no-reload enable causewayd.service", "causewayd operator add 1000", reload, "systemctl start causewayd.service"}},
	"rpm/install in an image": {script: "rpm/causeway.postinst", args: []string{"1"}, calls: []string{"systemctl --no-reload enable causewayd.service"}},
	"rpm/upgrade":             {script: "rpm/causeway.postinst", args: []string{"2"}, booted: true, state: "active", calls: []string{reload, ask, "systemctl restart causewayd.service"}},
	"rpm/upgrade of stopped":  {script: "rpm/causeway.postinst", args: []string{"2"}, booted: true, state: "inactive", calls: []string{reload, ask}},
	"rpm/upgrade/prerm":       {script: "rpm/causeway.prerm", args: []string{"1"}, booted: true, state: "active"},
	"rpm/erase/prerm":         {script: "rpm/causeway.prerm", args: []string{"0"}, booted: true, calls: []string{"systemctl --no-reload disable causewayd.service", "systemctl stop causewayd.service causewayd-restore.service", "causewayd cleanup"}},
	"rpm/upgrade/postrm":      {script: "rpm/causeway.postrm", args: []string{"1"}, booted: true},
	"rpm/erase/postrm":        {script: "rpm/causeway.postrm", args: []string{"0"}, booted: true, files: []string{"var/lib/causeway/service.json"}, calls: []string{reload, forgive}, there: []string{"var/lib/causeway/service.json"}},
	// the control plane
	"server/install":       {script: "deb/causeway-server.postinst", args: []string{"configure", ""}, booted: true, state: "inactive", files: []string{"run/causeway-server.installing"}, calls: []string{"systemd-sysusers causeway-server.conf", "deb-systemd-helper unmask causeway-server.service", "deb-systemd-helper --quiet was-enabled causeway-server.service", "deb-systemd-helper enable causeway-server.service", reload, "systemctl show --property=ActiveState --value causeway-server.service", "deb-systemd-invoke start causeway-server.service"}},
	"server/upgrade/prerm": {script: "deb/causeway-server.prerm", args: []string{"upgrade", "2.0"}, booted: true, state: "active"},
	"server/remove/prerm":  {script: "deb/causeway-server.prerm", args: []string{"remove"}, booted: true, state: "active", calls: []string{"deb-systemd-invoke stop causeway-server.service"}},
	"server/purge":         {script: "deb/causeway-server.postrm", args: []string{"purge"}, files: []string{"var/lib/causeway-server/causeway.db", "var/lib/causeway/service.json"}, gone: []string{"var/lib/causeway-server"}, there: []string{"var/lib/causeway/service.json"}},
	// agents: an upgrade ends no session
	"agent/upgrade":        {script: "deb/causeway-agent.postinst", args: []string{"configure", "1.0"}, booted: true, calls: []string{reload}},
	"agent/upgrade/prerm":  {script: "deb/causeway-agent.prerm", args: []string{"upgrade", "2.0"}, booted: true},
	"agent/remove/prerm":   {script: "deb/causeway-agent.prerm", args: []string{"remove"}, booted: true, calls: []string{"systemctl stop causeway-agent@*.service"}},
	"agent/erase by rpm":   {script: "rpm/causeway-agent.prerm", args: []string{"0"}, booted: true, calls: []string{"systemctl stop causeway-agent@*.service"}},
	"agent/upgrade by rpm": {script: "rpm/causeway-agent.prerm", args: []string{"1"}, booted: true},
}

// recorder stands in for every tool: it notes how it was called.
const recorder = `#!/bin/sh
name=${0##*/}
printf '%s' "$name" >>"$RECORD"
for word; do printf ' %s' "$word" >>"$RECORD"; done
echo >>"$RECORD"
case " $FAILS " in *" $name "*) exit 1 ;; esac
case "$name $1 $2" in
"systemctl show "*) echo "$STATE" ;;
"deb-systemd-helper --quiet was-enabled") [ -z "$OFF" ] || exit 1 ;;
esac
`

// TestScripts holds which tool each script calls, in which order, in each of
// the situations that dpkg and rpm put it in.
func TestScripts(t *testing.T) {
	shell, err := exec.LookPath("dash") // Debian's sh
	if err != nil {
		t.Skip("no dash")
	}
	for name, s := range stages {
		t.Run(name, func(t *testing.T) { s.run(t, shell) })
	}
	t.Logf("figure: %d situations of maintainer scripts", len(stages))
}

func (s stage) run(t *testing.T, shell string) {
	root := t.TempDir()
	tools := filepath.Join(root, "tools")
	for _, tool := range []string{"systemctl", "deb-systemd-helper", "deb-systemd-invoke", "causewayd", "systemd-sysusers"} {
		put(t, filepath.Join(tools, tool), recorder)
	}
	for _, file := range s.files {
		put(t, filepath.Join(root, file), "#!/bin/sh\n")
	}
	for _, dir := range []string{"run", "var/lib", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if s.booted {
		if err := os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(filepath.Join("../../packaging/linux", s.script))
	if err != nil {
		t.Fatal(err)
	}
	// The machine's own files are not the script's.
	text := strings.NewReplacer(" /run/", " "+root+"/run/", ">/run/", ">"+root+"/run/", " /var/lib/", " "+root+"/var/lib/", " /usr/bin/", " "+root+"/usr/bin/", " /etc/", " "+root+"/etc/").Replace(string(content))
	path := filepath.Join(root, "script")
	put(t, path, text)
	record := filepath.Join(root, "record")
	cmd := exec.Command(shell, append([]string{"-e", path}, s.args...)...)
	off := ""
	if s.off {
		off = "yes"
	}
	cmd.Env = append([]string{"PATH=" + tools + ":/usr/bin:/bin", "RECORD=" + record, "STATE=" + s.state, "OFF=" + off, "FAILS=" + strings.Join(s.fails, " ")}, s.env...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("it failed, and with it the package: %v: %s", err, output)
	}
	if !strings.Contains(string(output), s.says) || s.says == "" && len(output) > 0 {
		t.Errorf("it said %q; want %q", output, s.says)
	}
	calls, err := os.ReadFile(record)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(string(calls)), strings.Join(s.calls, "\n"); got != want {
		t.Errorf("called:\n%s\nwant:\n%s", got, want)
	}
	for _, file := range s.there {
		if _, err := os.Lstat(filepath.Join(root, file)); err != nil {
			t.Error(err)
		}
	}
	for _, file := range s.gone {
		if _, err := os.Lstat(filepath.Join(root, file)); err == nil {
			t.Errorf("%s is there", file)
		}
	}
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestSyntax holds that every script is one for dash.
func TestSyntax(t *testing.T) {
	shell, err := exec.LookPath("dash")
	if err != nil {
		t.Skip("no dash")
	}
	scripts, err := filepath.Glob("../../packaging/linux/*/*.p*")
	if err != nil || len(scripts) < 18 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	for _, script := range scripts {
		if output, err := exec.Command(shell, "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", script, err, output)
		}
	}
}
