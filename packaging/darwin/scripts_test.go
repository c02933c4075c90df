package darwin

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mac is what the scripts of a package meet: programs that write down how they
// are called, and end as they are told to.
type mac struct {
	t      *testing.T
	root   string
	user   string            // at the screen
	fails  map[string]string // first words of a call: its exit code
	report string            // shell that causewayd runs after it has been noted
}

func newMac(t *testing.T) *mac {
	t.Helper()
	m := &mac{t: t, root: t.TempDir(), user: "501", fails: map[string]string{}}
	for _, name := range []string{"launchctl", "pkgutil", "stat", "Library/Causeway/bin/causewayd"} {
		m.put(name, "")
	}
	return m
}

func (m *mac) path(name string) string { return filepath.Join(m.root, name) }

func (m *mac) put(name, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// run runs a script and returns what it called, and its exit code.
func (m *mac) run(script string, args ...string) ([]string, int) {
	m.t.Helper()
	for _, name := range []string{"launchctl", "pkgutil", "Library/Causeway/bin/causewayd"} {
		text := "#!/bin/sh\necho \"" + filepath.Base(name) + " $*\" >> " + m.path("calls") + "\n"
		if filepath.Base(name) == "causewayd" {
			text += m.report + "\n"
		}
		for call, code := range m.fails {
			text += "case \"" + filepath.Base(name) + " $*\" in \"" + call + "\"*) exit " + code + ";; esac\n"
		}
		m.put(name, text)
	}
	m.put("stat", "#!/bin/sh\n[ \"$*\" = '-f %u /dev/console' ] && echo "+m.user+"\n")
	command := exec.Command("/bin/sh", append([]string{script}, args...)...)
	command.Env = []string{
		"PATH=" + m.root + ":/usr/bin:/bin", "CAUSEWAY_BIN=" + m.path("Library/Causeway/bin"), "CAUSEWAY_PLIST=" + m.path("job.plist"),
		"LAUNCHCTL=" + m.path("launchctl"), "PKGUTIL=" + m.path("pkgutil"), "CAUSEWAY_ROOT=" + m.root,
	}
	output, err := command.CombinedOutput()
	if err != nil && command.ProcessState == nil {
		m.t.Fatal(err)
	}
	m.t.Logf("%s %s: %s", script, strings.Join(args, " "), output)
	calls, err := os.ReadFile(m.path("calls"))
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(calls), "\n"), "\n"), command.ProcessState.ExitCode()
}

func TestPostinstall(t *testing.T) {
	const job = "system/com.causewayhq.causewayd"
	const install, restart = "causewayd install --operator 501", "causewayd restart"
	writes := func(text string) func(*mac) {
		return func(m *mac) { m.report = "[ \"$1\" != install ] || printf '" + text + "' > " + m.path("job.plist") }
	}
	for name, test := range map[string]struct {
		set  func(*mac)
		args []string
		want []string
		code int
	}{
		"fresh":        {writes("new"), nil, []string{install, restart}, 0},
		"upgrade":      {func(m *mac) { m.put("job.plist", "same"); writes("same")(m) }, nil, []string{install, "launchctl print " + job, "launchctl kill SIGUSR2 " + job}, 0},
		"new list":     {func(m *mac) { m.put("job.plist", "old"); writes("new")(m) }, nil, []string{install, restart}, 0},
		"not loaded":   {func(m *mac) { m.put("job.plist", "same"); m.fails["launchctl print"] = "113" }, nil, []string{install, "launchctl print " + job, restart}, 0},
		"no handover":  {func(m *mac) { m.put("job.plist", "same"); m.fails["launchctl kill"] = "3" }, nil, []string{install, "launchctl print " + job, "launchctl kill SIGUSR2 " + job, restart}, 0},
		"nobody there": {func(m *mac) { m.user = "0"; writes("new")(m) }, nil, []string{"causewayd install", restart}, 0},
		"other disk":   {writes("new"), []string{"p.pkg", "/Volumes/Other", "/Volumes/Other"}, []string{""}, 0},
		"same disk":    {writes("new"), []string{"p.pkg", "/", "/"}, []string{install, restart}, 0},
		"refused":      {func(m *mac) { m.fails["causewayd install"] = "15" }, nil, []string{install}, 15},
		"not started":  {func(m *mac) { writes("new")(m); m.fails[restart] = "14" }, nil, []string{install, restart}, 14},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMac(t)
			test.set(m)
			calls, code := m.run("pkg/causeway/postinstall", test.args...)
			if !slices.Equal(calls, test.want) || code != test.code {
				t.Errorf("exit code %d, calls:\n%s\nwant %d:\n%s", code, strings.Join(calls, "\n"), test.code, strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestTrayScripts(t *testing.T) {
	const agent, list = "gui/501/com.causewayhq.tray", "/Library/LaunchAgents/com.causewayhq.tray.plist"
	for name, test := range map[string]struct {
		script string
		set    func(*mac)
		want   []string
	}{
		"before":            {"preinstall", func(*mac) {}, []string{"launchctl bootout " + agent}},
		"before, none runs": {"preinstall", func(m *mac) { m.fails["launchctl bootout"] = "113" }, []string{"launchctl bootout " + agent}},
		"before, nobody":    {"preinstall", func(m *mac) { m.user = "0" }, []string{""}},
		"after":             {"postinstall", func(*mac) {}, []string{"launchctl bootstrap gui/501 " + list}},
		"after, loaded": {"postinstall", func(m *mac) { m.fails["launchctl bootstrap"] = "5" },
			[]string{"launchctl bootstrap gui/501 " + list, "launchctl kickstart " + agent}},
		"after, no session": {"postinstall", func(m *mac) { m.fails["launchctl"] = "125" },
			[]string{"launchctl bootstrap gui/501 " + list, "launchctl kickstart " + agent}},
		"after, nobody": {"postinstall", func(m *mac) { m.user = "0" }, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMac(t)
			test.set(m)
			if calls, code := m.run("pkg/causeway-tray/" + test.script); !slices.Equal(calls, test.want) || code != 0 {
				t.Errorf("exit code %d, calls %q, want %q", code, calls, test.want)
			}
		})
	}
}

// TestUninstall: the daemon puts the host back before its files go; when it
// cannot, nothing is removed, so that it can be tried again.
func TestUninstall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ours := []string{"Library/LaunchAgents/com.causewayhq.tray.plist", "etc/paths.d/causeway", "etc/manpaths.d/causeway",
		"Applications/Causeway.app/Contents/Info.plist", "Library/Causeway/share/doc/LICENSE", "Library/Logs/Causeway/causewayd.log"}
	const state, foreign = "Library/Application Support/Causeway/service.json", "etc/paths.d/foreign"
	for name, test := range map[string]struct {
		args         []string
		fails        bool
		keeps, state bool
	}{
		"remove": {nil, false, false, true}, "purge": {[]string{"--purge"}, false, false, false}, "stuck": {[]string{"--purge"}, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMac(t)
			for _, path := range append(ours, state, foreign) {
				m.put(path, "x")
			}
			want := []string{"causewayd uninstall"}
			if test.fails {
				m.fails["causewayd uninstall"] = "14"
			} else {
				want = append(want, "launchctl bootout gui/501/com.causewayhq.tray", "pkgutil --forget com.causewayhq.causeway", "pkgutil --forget com.causewayhq.tray")
			}
			m.fails["pkgutil"] = "1" // installed by hand
			calls, code := m.run("uninstall.sh", test.args...)
			if !slices.Equal(calls, want) || (code != 0) != test.fails {
				t.Errorf("exit code %d, calls %q, want %q", code, calls, want)
			}
			there := func(path string) bool { _, err := os.Lstat(m.path(path)); return err == nil }
			for _, path := range ours {
				if there(path) != test.keeps {
					t.Errorf("%s is there: %t", path, !test.keeps)
				}
			}
			if there(state) != test.state || !there(foreign) {
				t.Errorf("state is there: %t, another's file: %t", there(state), there(foreign))
			}
		})
	}
	if _, code := newMac(t).run("uninstall.sh", "--everything"); code != 2 {
		t.Errorf("an unknown flag ends with %d", code)
	}
}

func TestPropertyLists(t *testing.T) {
	for file, want := range map[string]map[string]any{
		"Info.plist":                {"CFBundleIdentifier": BundleID, "CFBundleExecutable": "causeway-tray", "LSUIElement": true},
		"com.causewayhq.tray.plist": {"Label": "com.causewayhq.tray", "RunAtLoad": true, "LimitLoadToSessionType": "Aqua"},
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		read := parse(t, content)
		for key, value := range want {
			if read[key] != value {
				t.Errorf("%s: %s is %v, want %v", file, key, read[key], value)
			}
		}
	}
}
