package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// TestWords: what is said on one system is of that system, and the commands are
// such as it has. These faults come about on all of them.
func TestWords(t *testing.T) {
	off := func(f *Facts) { // no daemon, and no systemd that would know of one
		f.Daemon.Unit, f.Daemon.PIDs = Unit{}, nil
		f.Daemon.Dial = &localapi.Error{Code: localapi.CodeNotRunning, Cause: "connect: there is no socket"}
	}
	faults := map[string]struct {
		break_ func(*Facts)
		// want is in the remedies on Linux, macOS and Windows.
		want [3]string
	}{
		"stopped": {off, [3]string{"run: sudo causewayd run", "run: sudo causewayd run", "run in a terminal that was opened as administrator: causewayd run"}},
		"remains": {func(f *Facts) { off(f); f.Daemon.Leftover = "utun9" }, [3]string{"or else run: sudo causewayd cleanup", "or else run: sudo causewayd cleanup", "or else run in a terminal that was opened as administrator: causewayd cleanup"}},
		"foreign": {func(f *Facts) { off(f); f.Daemon.Foreign, f.Daemon.ForeignName = "another's", "utun9" }, [3]string{"ip -d link show utun9", "(ifconfig utun9)", `netsh interface show interface name="utun9"`}},
		"wedged": {func(f *Facts) {
			f.Daemon.Unit = Unit{}
			f.Daemon.Dial = &localapi.Error{Code: localapi.CodeTimeout, Cause: "call: it does not answer"}
		}, [3]string{"sudo kill -9", "sudo kill -9", "taskkill /F /PID"}},
		"other API":   {func(f *Facts) { f.Daemon.API++ }, [3]string{"run: sudo systemctl restart causewayd", "run: sudo causewayd restart", "as administrator: causewayd restart"}},
		"old version": {func(f *Facts) { f.Daemon.Version = "v0.0.1" }, [3]string{"run: sudo systemctl restart causewayd", "run: sudo causewayd restart", "as administrator: causewayd restart"}},
		"signed out":  {func(f *Facts) { f.Tunnel.Status = &localv1.Status{State: localv1.State_SIGNED_OUT} }, [3]string{"run: sudo causeway login", "run: sudo causeway login", "as administrator: causeway login"}},
		"failed":      {func(f *Facts) { f.Tunnel.Status = &localv1.Status{State: localv1.State_FAILED} }, [3]string{"sudo journalctl -u causewayd", "/Library/Logs/Causeway/causewayd.log", `C:\ProgramData\Causeway\Logs\causewayd.log`}},
		"proxy": {func(f *Facts) {
			f.Proxies.Service = Proxy{Variable: "HTTPS_PROXY", Value: "http://p", Err: errors.New("refused")}
		}, [3]string{"systemctl edit causewayd", "/Library/LaunchDaemons", "the system's environment variables"}},
		"clock": {func(f *Facts) { f.Control.Skew = time.Hour }, [3]string{"timedatectl", "Date & Time", "w32tm /resync"}},
		"link":  {func(f *Facts) { f.Host.Up = false }, [3]string{"sudo ip link set causeway0 up", "sudo ifconfig causeway0 up", `netsh interface set interface name="causeway0" admin=enabled`}},
	}
	for i, system := range []struct {
		name    string
		words   words
		foreign []string // what is nothing there
	}{
		{"Linux", linuxWords, []string{"ifconfig", "netsh", "taskkill", "administrator:", "/Library", `C:\`}},
		{"macOS", darwinWords, []string{"systemctl", "journalctl", "systemd", "ip link", "timedatectl", "netsh", "taskkill", `C:\`}},
		{"Windows", windowsWords, []string{"sudo", "systemctl", "journalctl", "systemd", "ip link", "timedatectl", "kill -9", "ifconfig", "chmod", "/Library"}},
	} {
		for name, fault := range faults {
			t.Run(system.name+"/"+name, func(t *testing.T) {
				facts := wellFacts()
				fault.break_(&facts)
				said := ""
				for _, outcome := range examineAs(t.Context(), system.words, &fakeHost{facts: facts}, func(Outcome) {}) {
					if outcome.Result == Failed || outcome.Result == Warning {
						said += outcome.Cause + "; " + outcome.Remedy + "\n"
					}
				}
				if !strings.Contains(said, fault.want[i]) {
					t.Errorf("%q is not in %s", fault.want[i], said)
				}
				for _, word := range system.foreign {
					if strings.Contains(said, word) {
						t.Errorf("%q is in %s", word, said)
					}
				}
			})
		}
	}
	for _, w := range []words{linuxWords, darwinWords, windowsWords} {
		for _, text := range []string{w.run, w.restart, w.log, w.kill, w.look, w.linkUp, w.setTime, w.environment} {
			if text == "" {
				t.Errorf("%+v lacks a word", w)
			}
		}
	}
}
