//go:build unix

package system

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"howett.net/plist"

	"github.com/causewayhq/causeway/packaging/darwin"
	"github.com/causewayhq/causeway/service"
)

// mac is a Mac whose launchd is recorded.
type mac struct {
	*Manager
	recorder
	said
	root    string
	owned   []string
	cleaned int

	loaded   bool
	disabled bool
	pid      string
	codes    map[string][]int // by verb: the exit codes of the next calls
}

const printed = `system/com.causewayhq.causewayd = {
	active count = 1
	path = /Library/LaunchDaemons/com.causewayhq.causewayd.plist
	state = running

	program = /usr/local/bin/causewayd
	arguments = {
		/usr/local/bin/causewayd
		run
	}
	pid = PID
	last exit code = 13: EACCES
	endpoints = {
		state = waiting
	}
}
`

func newMac(t *testing.T, dry bool, files ...string) *mac {
	t.Helper()
	m := &mac{root: tree(t, append(files, "Library/LaunchDaemons/")...), pid: "40", codes: map[string][]int{}}
	m.answer = m.launchctl
	options := Options{DryRun: dry, Say: m.say, Cleanup: func(context.Context) error { m.cleaned++; return nil }}
	m.Manager = assemble(options, &launchd{
		root: m.root, program: "/usr/local/bin/causewayd", run: m.run, trusted: func(path string) (string, error) { return path, nil },
		own: func(path string) error { m.owned = append(m.owned, path); return nil },
		register: func(content []byte) (registration, error) {
			return &registered{path: m.plist(), content: content, done: func(string) {}}, nil
		},
	}, m.run)
	return m
}

func (m *mac) plist() string { return filepath.Join(m.root, darwin.PlistPath) }

// launchctl answers as the real one does.
func (m *mac) launchctl(args string) (string, int) {
	verb, _, _ := strings.Cut(args, " ")
	if codes := m.codes[verb]; len(codes) > 0 {
		m.codes[verb] = codes[1:]
		if codes[0] != 0 {
			return "Boot-out or Bootstrap failed", codes[0]
		}
	}
	switch verb {
	case "print":
		if !m.loaded {
			return `Could not find service "com.causewayhq.causewayd" in domain for system`, noService
		}
		return strings.ReplaceAll(printed, "PID", m.pid), 0
	case "print-disabled":
		word := "enabled"
		if m.disabled {
			word = "disabled"
		}
		return "\tdisabled services = {\n\t\t\"com.apple.ftpd\" => disabled\n\t\t\"com.causewayhq.causewayd\" => " + word + "\n\t}\n", 0
	case "bootstrap":
		m.loaded = true
	case "bootout":
		if !m.loaded {
			return "Boot-out failed: 3: No such process", noSuchProcess
		}
		m.loaded = false
	case "enable":
		m.disabled = false
	case "kickstart":
		m.pid += "1"
	}
	return "", 0
}

var (
	enableJob = "/bin/launchctl enable system/com.causewayhq.causewayd"
	bootout   = "/bin/launchctl bootout system/com.causewayhq.causewayd"
	kickstart = "/bin/launchctl kickstart system/com.causewayhq.causewayd"
	kickAgain = "/bin/launchctl kickstart -k system/com.causewayhq.causewayd"
)

func (m *mac) bootstrap() string { return "/bin/launchctl bootstrap system " + m.plist() }

func TestLaunchdInstall(t *testing.T) {
	m := newMac(t, false)
	m.disabled = true
	if err := m.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.expect(t, enableJob)
	content, err := os.ReadFile(m.plist())
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("../../packaging/darwin/testdata/causewayd.plist")
	if err != nil || string(content) != string(golden) {
		t.Errorf("%v; written:\n%s", err, content)
	}
	var job struct {
		Label            string
		ProgramArguments []string
		RunAtLoad        bool
		KeepAlive        bool
		ThrottleInterval int
	}
	if _, err := plist.Unmarshal(content, &job); err != nil {
		t.Fatal(err)
	}
	if job.Label != "com.causewayhq.causewayd" || strings.Join(job.ProgramArguments, " ") != "/usr/local/bin/causewayd run" || !job.RunAtLoad || !job.KeepAlive || job.ThrottleInterval != 1 {
		t.Errorf("the job is %+v", job)
	}
	info, err := os.Stat(m.plist())
	if err != nil || info.Mode() != 0o644 || len(m.owned) != 1 || m.owned[0] != m.plist() {
		t.Errorf("%v %v, made root's: %v", err, info.Mode(), m.owned)
	}
	if info, err := os.Stat(filepath.Join(m.root, darwin.LogDir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(err, info)
	}
	m.said = nil
	if err := m.Install(t.Context()); err != nil || m.String() != "installed already: nothing to do" {
		t.Errorf("%v; said %v", err, m.said)
	}
	m.expect(t)
	// Names of workspaces are nobody else's.
	logs := filepath.Join(m.root, darwin.LogDir)
	if err := os.Chmod(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(logs); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(err, info)
	}
	// launchd refuses one that others may write.
	if err := os.Chmod(m.plist(), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := m.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(m.plist()); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v %v", err, info.Mode())
	}
}

func TestLaunchdStartStopRestart(t *testing.T) {
	m := newMac(t, false, darwin.PlistPath)
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.expect(t, enableJob, m.bootstrap(), kickstart)
	if err := m.Start(t.Context()); err != nil || !strings.Contains(m.String(), "runs already") {
		t.Errorf("%v, said %v", err, m.said)
	}
	m.expect(t)
	if err := m.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.expect(t, bootout, enableJob, m.bootstrap(), kickstart)
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.expect(t, bootout)
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.expect(t)
}

// TestLaunchdFailures: each refusal of launchctl, and what is done about it.
func TestLaunchdFailures(t *testing.T) {
	for name, c := range map[string]struct {
		loaded bool
		codes  map[string][]int
		act    func(*mac) error
		fails  string
		calls  func(*mac) []string
	}{
		"bootstrap: loaded already (5)": {
			codes: map[string][]int{"bootstrap": {5}}, act: func(m *mac) error { m.loaded = false; m.answer = m.loadsAnyway; return m.Start(t.Context()) },
			calls: func(m *mac) []string { return []string{enableJob, m.bootstrap(), kickstart} },
		},
		"bootstrap: in progress (37)": {
			codes: map[string][]int{"bootstrap": {37}}, act: func(m *mac) error { m.answer = m.loadsAnyway; return m.Start(t.Context()) },
			calls: func(m *mac) []string { return []string{enableJob, m.bootstrap(), kickstart} },
		},
		"bootstrap: bad list (78)": {
			codes: map[string][]int{"bootstrap": {78}}, act: func(m *mac) error { return m.Start(t.Context()) }, fails: "exit code 78",
			calls: func(m *mac) []string { return []string{enableJob, m.bootstrap()} },
		},
		"bootstrap: a list that it does not take (5)": {
			codes: map[string][]int{"bootstrap": {5}, "kickstart": {113}}, act: func(m *mac) error { return m.Start(t.Context()) }, fails: "bootstrap",
			calls: func(m *mac) []string { return []string{enableJob, m.bootstrap(), kickstart} },
		},
		"enable refused": {
			codes: map[string][]int{"enable": {1}}, act: func(m *mac) error { return m.Start(t.Context()) }, fails: "launchctl enable",
			calls: func(*mac) []string { return []string{enableJob} },
		},
		"kickstart refused": {
			codes: map[string][]int{"kickstart": {113}}, act: func(m *mac) error { return m.Start(t.Context()) }, fails: "exit code 113",
			calls: func(m *mac) []string { return []string{enableJob, m.bootstrap(), kickstart} },
		},
		"restart: loaded still, so it is killed": {
			loaded: true, codes: map[string][]int{"bootstrap": {5}}, act: func(m *mac) error { m.answer = m.loadsAnyway; return m.Restart(t.Context()) },
			calls: func(m *mac) []string { return []string{bootout, enableJob, m.bootstrap(), kickAgain} },
		},
		"restart: not loaded (3)": {
			codes: map[string][]int{"bootout": {3}}, act: func(m *mac) error { return m.Restart(t.Context()) },
			calls: func(m *mac) []string { return []string{bootout, enableJob, m.bootstrap(), kickstart} },
		},
		"stop: not loaded any more (113)": {
			loaded: true, codes: map[string][]int{"bootout": {113}}, act: func(m *mac) error { m.answer = m.goneAnyway; return m.Stop(t.Context()) },
			calls: func(*mac) []string { return []string{bootout} },
		},
		"stop: being taken down (36)": {
			loaded: true, codes: map[string][]int{"bootout": {36}}, act: func(m *mac) error { m.answer = m.goneAnyway; return m.Stop(t.Context()) },
			calls: func(*mac) []string { return []string{bootout} },
		},
		"stop: not permitted (1)": {
			loaded: true, codes: map[string][]int{"bootout": {1}}, act: func(m *mac) error { return m.Stop(t.Context()) }, fails: "exit code 1",
			calls: func(*mac) []string { return []string{bootout} },
		},
		"print fails": {
			codes: map[string][]int{"print": {9}}, act: func(m *mac) error { return m.Stop(t.Context()) }, fails: "ask launchd",
			calls: func(*mac) []string { return nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMac(t, false, darwin.PlistPath)
			m.loaded, m.codes = c.loaded, c.codes
			err := c.act(m)
			if c.fails == "" && err != nil {
				t.Error(err)
			}
			if c.fails != "" {
				failedWith(t, err, service.FailureService, c.fails)
			}
			m.expect(t, c.calls(m)...)
		})
	}
}

// loadsAnyway: a bootstrap that is refused finds the job loaded.
func (m *mac) loadsAnyway(args string) (string, int) {
	output, code := m.launchctl(args)
	if strings.HasPrefix(args, "bootstrap ") && code != 0 {
		m.loaded = true
	}
	return output, code
}

// goneAnyway: a bootout that is refused finds the job on its way out.
func (m *mac) goneAnyway(args string) (string, int) {
	output, code := m.launchctl(args)
	if strings.HasPrefix(args, "bootout ") && code != 0 {
		m.loaded = false
	}
	return output, code
}

// TestLaunchdRestartWaitsForTheEnd: bootstrap is refused while the old job is
// being taken down.
func TestLaunchdRestartWaitsForTheEnd(t *testing.T) {
	m := newMac(t, false, darwin.PlistPath)
	m.loaded = true
	synctest.Test(t, func(t *testing.T) {
		var asked, gone time.Time
		m.answer = func(args string) (string, int) {
			switch {
			case strings.HasPrefix(args, "bootout "):
				asked = time.Now()
				return "", 0
			case strings.HasPrefix(args, "print "):
				m.loaded = asked.IsZero() || time.Since(asked) < 2*time.Second || !gone.IsZero()
			case strings.HasPrefix(args, "bootstrap "):
				gone = time.Now()
			}
			return m.launchctl(args)
		}
		if err := m.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := gone.Sub(asked); waited < 2*time.Second || waited > 3*time.Second {
			t.Errorf("bootstrap %v after bootout", waited)
		}
	})
}

func TestLaunchdWaitsForTheAPI(t *testing.T) {
	m := newMac(t, false, darwin.PlistPath)
	synctest.Test(t, func(t *testing.T) {
		from := time.Now().Add(4 * time.Second)
		m.options.Answers = func(context.Context) bool { return time.Now().After(from) }
		if err := m.Start(t.Context()); err != nil || time.Now().Before(from) {
			t.Errorf("%v, before it answers: %v", err, time.Now().Before(from))
		}
	})
}

func TestLaunchdUninstall(t *testing.T) {
	m := newMac(t, false)
	if err := errors.Join(m.Install(t.Context()), m.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	m.calls = nil
	for range 2 {
		if err := m.Uninstall(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	m.expect(t, bootout)
	if _, err := os.Lstat(m.plist()); err == nil || m.cleaned != 2 {
		t.Errorf("the list is there; cleaned %d times", m.cleaned)
	}
	if _, err := os.Lstat(filepath.Join(m.root, darwin.LogDir)); err == nil {
		t.Error("the logs are there")
	}
}

func TestLaunchdStatus(t *testing.T) {
	m := newMac(t, false)
	ask := func(want Status) {
		t.Helper()
		want.Manager = "launchd"
		if got, err := m.Status(t.Context()); err != nil || got != want {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
		}
	}
	ask(Status{State: NotInstalled})
	if err := os.WriteFile(m.plist(), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	ask(Status{State: Stopped, AtBoot: true, Definition: darwin.PlistPath})
	m.disabled, m.loaded = true, true
	ask(Status{State: Running, PID: 40, Definition: darwin.PlistPath})
	m.answer = func(args string) (string, int) {
		if strings.HasPrefix(args, "print ") {
			return "x = {\n\tstate = spawn scheduled\n\tlast exit code = 13\n\tsub = {\n\t\tpid = 3\n\t}\n}\n", 0
		}
		return m.launchctl(args)
	}
	ask(Status{State: Failed, ExitCode: 13, Definition: darwin.PlistPath})
}
