package tray

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSettingsSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "tray.json")
	if got, err := readSettings(path); err != nil || got.connectAtLaunch {
		t.Fatalf("of no file: %+v, %v", got, err)
	}
	for _, on := range []bool{true, false} {
		if err := writeSettings(path, settings{connectAtLaunch: on}); err != nil {
			t.Fatal(err)
		}
		if got, err := readSettings(path); err != nil || got.connectAtLaunch != on {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

func TestForeignSettingsAreLeftAlone(t *testing.T) {
	for name, text := range map[string]string{"newer": `{"version": 2}`, "broken": `{`} {
		path := filepath.Join(t.TempDir(), "tray.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := writeSettings(path, settings{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if data, _ := os.ReadFile(path); string(data) != text {
			t.Errorf("%s: the file is %q", name, data)
		}
	}
}
