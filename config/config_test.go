package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func noEnv(string) (string, bool) { return "", false }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "causeway.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsPassTheirOwnCheck(t *testing.T) {
	for _, s := range Schema() {
		if err := s.check(s.Default); err != nil {
			t.Errorf("%s: default: %v", s.Name, err)
		}
		if s.FileOnly != (s.Env == "") || !s.FileOnly && !strings.HasPrefix(s.Env, "CAUSEWAY_") || s.Doc == "" {
			t.Errorf("%s: environment %q, doc %q", s.Name, s.Env, s.Doc)
		}
		if !strings.Contains(Document(), s.Name) || !strings.Contains(Document(), s.Env) {
			t.Errorf("%s: not in the documentation", s.Name)
		}
	}
}

func TestOrderOfSources(t *testing.T) {
	file := write(t, "# ours\ninterface: file0\nsocket: /file.sock\nlog-level: debug\nlog-format: json\ntelemetry: true\n")
	env := map[string]string{"CAUSEWAY_CONFIG": file, "CAUSEWAY_INTERFACE": "env0", "CAUSEWAY_SOCKET": "/env.sock", "CAUSEWAY_LOG_FORMAT": ""}
	got, err := Load(Sources{
		Flags:     map[string]string{"interface": "flag0"},
		LookupEnv: func(name string) (string, bool) { text, ok := env[name]; return text, ok },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Daemon{
		StateDir: DefaultStateDir, Socket: "/env.sock", Interface: "flag0",
		LogLevel: slog.LevelDebug, LogFormat: "json", Telemetry: true, File: file,
	}
	if got != want {
		t.Errorf("Load() = %+v\nwant %+v", got, want)
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	if values, err := readFile(path, false); err != nil || values != nil {
		t.Errorf("default file that does not exist: %v, %v", values, err)
	}
	if _, err := readFile(path, true); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("named file that does not exist: %v", err)
	}
}

func TestFileRefused(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"unknown key":       {"interface: a\nstatedir: /x\n", `line 2: unknown key "statedir"; did you mean "state-dir"?`},
		"far from any key":  {"zzz: 1\n", `line 1: unknown key "zzz"; known are state-dir,`},
		"twice":             {"interface: a\ninterface: b\n", "line 2:"},
		"no choice":         {"\n\nlog-format: xml\n", `line 3: key "log-format": "xml" is none of text, json`},
		"truth value":       {"log-level: true\n", `line 1: key "log-level": "true" is none of`},
		"relative path":     {"socket: run/x.sock\n", `line 1: key "socket": "run/x.sock" is not an absolute path`},
		"empty value":       {"socket:\n", `line 1: key "socket": expected one plain value`},
		"list":              {"socket: [/a, /b]\n", `line 1: key "socket": expected one plain value`},
		"nested":            {"socket:\n  path: /a\n", `line 1: key "socket": expected one plain value`},
		"list at the top":   {"- socket\n", "line 1: expected \"key: value\""},
		"bare word":         {"hello\n", "line 1: expected \"key: value\""},
		"second document":   {"interface: a\n---\ninterface: b\n", "a second YAML document"},
		"broken YAML":       {"interface: [1\nsocket: /x\n", "not YAML"},
		"tab":               {"interface: a\n\tsocket: /x\n", "not YAML"},
		"long interface":    {"interface: sixteen-letters-\n", `line 1: key "interface"`},
		"interface escapes": {"interface: ../../x\n", `line 1: key "interface"`},
		"log level":         {"log-level: loud\n", `line 1: key "log-level": "loud" is none of debug, info, warn, error`},
		"control character": {"socket: \"/a\\nb\"\n", "control character"},
		"binary":            {"\x00\xff\xfe\x01", "line 1"},
		"too large":         {strings.Repeat("#", maxFile+1), "larger than"},
		"alias":             {"socket: &a /x\ninterface: *a\n", "line 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.text)
			_, err := Load(Sources{Flags: map[string]string{"config": path}, LookupEnv: noEnv})
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q\nwant %q and the path", err, test.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error spans lines: %q", err)
			}
		})
	}
}

func TestFileTaken(t *testing.T) {
	for name, text := range map[string]string{
		"empty":    "",
		"comment":  "# nothing yet\n",
		"document": "---\ninterface: a\n",
		"quoted":   "interface: \"42\"\nlog-format: 'json'\n",
		"number":   "interface: 42\n",
		"flow":     "{interface: a, log-level: warn}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Load(Sources{Flags: map[string]string{"config": write(t, text)}, LookupEnv: noEnv}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFileThatOthersCanWrite(t *testing.T) {
	path := write(t, "interface: a\n")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := readFile(path, true); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("error %v, want the remedy", err)
	}
	if _, err := readFile(t.TempDir(), true); err == nil {
		t.Error("a directory was taken as the file")
	}
}

func TestFlagAndVariableRefused(t *testing.T) {
	_, err := Load(Sources{Flags: map[string]string{"log-format": "1"}, LookupEnv: noEnv})
	if err == nil || !strings.Contains(err.Error(), "flag --log-format") {
		t.Errorf("flag: %v", err)
	}
	env := func(name string) (string, bool) { return "no", name == "CAUSEWAY_LOG_LEVEL" }
	_, err = Load(Sources{LookupEnv: env})
	if err == nil || !strings.Contains(err.Error(), "CAUSEWAY_LOG_LEVEL") {
		t.Errorf("variable: %v", err)
	}
}

func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{
		"", "interface: a\n", "# c\nsocket: /a\nlog-level: debug\n", "a: &x [1]\nb: *x\n", "? a\n: b\n", "- 1\n", "{a: b}\n", "\x00", "socket: |\n  /a\n", "<<: {interface: a}\n", "!!binary x: y\n", "---\n...\n---\n", "\"\\u0000\": 1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := parseFile(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error spans lines: %q", err)
			}
			return
		}
		for name, value := range values {
			setting, ok := find(name)
			if !ok || setting.check(value.text) != nil || value.line < 1 {
				t.Errorf("took %s = %q on line %d", name, value.text, value.line)
			}
		}
	})
}
