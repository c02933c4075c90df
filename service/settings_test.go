package service

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

func setting(t *testing.T, call *localapi.Client, name string) *localv1.Setting {
	t.Helper()
	all, err := call.GetSettings(t.Context(), &localv1.GetSettingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all.GetSettings() {
		if one.GetName() == name {
			return one
		}
	}
	t.Fatalf("no setting %s", name)
	return nil
}

func set(t *testing.T, call *localapi.Client, values map[string]string, unset ...string) error {
	t.Helper()
	_, err := call.SetSettings(t.Context(), &localv1.SetSettingsRequest{Values: values, Unset: unset})
	return err
}

// TestSettingsAreKept: what is set counts at once, after a restart, and until it
// is unset; a tunnel that it is about is made anew.
func TestSettingsAreKept(t *testing.T) {
	r := newRig(t)
	_, call, stop := r.start(t)
	first := upAs(t, r, call)
	if err := set(t, call, map[string]string{"log-level": "debug"}); err != nil {
		t.Fatal(err)
	}
	if r.config.LogLevel.Level() != slog.LevelDebug {
		t.Error("the log level does not count")
	}
	select {
	case <-first.ended:
		t.Error("the tunnel was ended for a setting that it has nothing to do with")
	default:
	}
	if err := set(t, call, map[string]string{"telemetry": "true", "dns-forwarder": "on"}); err != nil {
		t.Fatal(err)
	}
	if second := r.tunnel(t); !second.options.Telemetry || !second.options.DNSForwarder || first.options.Telemetry {
		t.Errorf("tunnel with %+v after %+v", second.options, first.options)
	}
	if got := setting(t, call, "telemetry"); got.GetValue() != "true" || got.GetSource() != "set" || got.GetLocked() || !got.GetLive() {
		t.Errorf("setting %v", got)
	}
	if got := setting(t, call, "socket"); got.GetSource() != "default" || got.GetLive() {
		t.Errorf("setting %v", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r.config.LogLevel.Set(slog.LevelInfo)
	_, call, _ = r.start(t)
	if third := r.tunnel(t); !third.options.Telemetry || r.config.LogLevel.Level() != slog.LevelDebug {
		t.Errorf("after a restart %+v, level %v", third.options, r.config.LogLevel.Level())
	}
	if err := set(t, call, nil, "telemetry", "log-level"); err != nil {
		t.Fatal(err)
	}
	if got := setting(t, call, "telemetry"); got.GetSource() != "default" || r.config.LogLevel.Level() != slog.LevelInfo {
		t.Errorf("unset: %v, level %v", got, r.config.LogLevel.Level())
	}
}

// TestSettingsRefused: all or nothing, and by name.
func TestSettingsRefused(t *testing.T) {
	r := newRig(t)
	r.config.Settings = settingsOf(t, map[string]string{"telemetry": "false"})
	_, call, _ := r.start(t)
	for name, test := range map[string]struct {
		name, value string
		code        localapi.Code
	}{
		"locked by a flag": {"telemetry", "true", localapi.CodePermission},
		"not live":         {"socket", "/x", localapi.CodeUsage},
		"of the file only": {"header-command", "/bin/sh", localapi.CodeUsage},
		"unknown":          {"telemetri", "true", localapi.CodeUsage},
		"no such value":    {"log-level", "loud", localapi.CodeUsage},
	} {
		err := set(t, call, map[string]string{test.name: test.value, "dns-forwarder": "on"})
		if wantCode(t, err, test.code); err != nil && !strings.Contains(err.Error(), test.name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := setting(t, call, "dns-forwarder"); got.GetValue() != "off" {
		t.Errorf("a refused request set %v", got)
	}
	if got := setting(t, call, "telemetry"); !got.GetLocked() || got.GetSource() != "flag" {
		t.Errorf("setting %v", got)
	}
	wantCode(t, set(t, call, nil, "socket"), localapi.CodeUsage)
	if err := set(t, call, nil, "telemetry"); err != nil {
		t.Errorf("what is locked cannot be forgotten: %v", err)
	}
}

// TestSettingsFileRefused: a file that cannot be understood stays, and so does
// what a link there leads to.
func TestSettingsFileRefused(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"corrupt":  {func(t *testing.T, path string) { put(t, path, "{precious") }, "settings.json.bad"},
		"newer":    {func(t *testing.T, path string) { put(t, path, `{"version":2}`) }, "newer"},
		"too long": {func(t *testing.T, path string) { put(t, path, strings.Repeat(" ", maxSettings+1)) }, "larger"},
		"link":     {func(t *testing.T, path string) { link(t, "/etc/hostname", path) }, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			mkdir(t, r.config.StateDir, 0o700)
			path := filepath.Join(r.config.StateDir, settingsFile)
			test.make(t, path)
			before, _ := os.ReadFile(path)
			err := New(r.config).Run(t.Context())
			wantFailure(t, err, FailureState)
			failed := new(Error)
			if errors.As(err, &failed); !strings.Contains(failed.Error()+failed.Remedy, test.want) || strings.Contains(failed.Error(), "precious") {
				t.Errorf("%v, remedy %q", err, failed.Remedy)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
	// What a later version may have set is left alone.
	r := newRig(t)
	mkdir(t, r.config.StateDir, 0o700)
	put(t, filepath.Join(r.config.StateDir, settingsFile), `{"version":1,"values":{"telemetry":"true","colour":"red","log-level":"loud"}}`)
	_, call, _ := r.start(t)
	if got := setting(t, call, "telemetry"); got.GetValue() != "true" {
		t.Errorf("setting %v", got)
	}
	if err := set(t, call, map[string]string{"dns-forwarder": "on"}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(r.config.StateDir, settingsFile)); err != nil || !strings.Contains(string(data), "colour") {
		t.Errorf("after a change: %s, %v", data, err)
	}
}

// TestLogLevelForATime puts the setting back by itself, and not over a later wish.
func TestLogLevelForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := New(r.config)
		mkdir(t, r.config.StateDir, 0o700)
		if err := s.loadSettings(); err != nil {
			t.Fatal(err)
		}
		level := func(name string, wait time.Duration) error {
			in := &localv1.SetLogLevelRequest{Level: name}
			if wait != 0 {
				in.For = durationpb.New(wait)
			}
			_, err := s.SetLogLevel(t.Context(), in)
			return err
		}
		is := func(want slog.Level) {
			t.Helper()
			if got := r.config.LogLevel.Level(); got != want {
				t.Errorf("level %v, want %v", got, want)
			}
		}
		for _, err := range []error{level("debug", 10*time.Minute), nil} {
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10*time.Minute - time.Second)
		is(slog.LevelDebug)
		time.Sleep(2 * time.Second)
		is(slog.LevelInfo)
		// A later wish is not ended by the first one's time, and a setting that
		// changes meanwhile does not end it.
		_ = level("debug", time.Minute)
		_ = level("warn", time.Hour)
		if _, err := s.storeSettings(&localv1.SetSettingsRequest{Values: map[string]string{"log-level": "error"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		is(slog.LevelWarn)
		time.Sleep(time.Hour)
		is(slog.LevelError)
		_ = level("debug", 0)
		time.Sleep(1000 * time.Hour)
		is(slog.LevelDebug)
		_ = level("", 0)
		is(slog.LevelError)
		wantCode(t, level("loud", 0), localapi.CodeUsage)
		wantCode(t, level("debug", -time.Second), localapi.CodeUsage)
		is(slog.LevelError)
	})
}

// TestSecretSettingsDoNotShow: a proxy's password and a command's arguments.
func TestSecretSettingsDoNotShow(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "causeway.yaml")
	put(t, file, "proxy: http://u:hunter2@proxy:1\nheader-command: /bin/echo X=hunter2\n")
	var err error
	r.config.Settings, err = config.LoadValues(config.Sources{Flags: map[string]string{"config": file}, LookupEnv: r.config.LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	_, call, _ := r.start(t)
	all, err := call.GetSettings(t.Context(), &localv1.GetSettingsRequest{})
	if err != nil || strings.Contains(all.String(), "hunter2") {
		t.Errorf("%v, %v", all, err)
	}
	if got := setting(t, call, "proxy"); got.GetValue() != "http://proxy:1" || !got.GetLocked() {
		t.Errorf("setting %v", got)
	}
	signedIn, err := call.Login(t.Context(), &localv1.LoginRequest{Url: "https://h", Token: goodToken})
	if err != nil {
		t.Fatal(signedIn, err)
	}
}
