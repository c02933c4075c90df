package unit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstallDry: a program where Windows has them, with blanks, goes into a task
// of the current user; a variable in its path does not.
func TestInstallDry(t *testing.T) {
	var said []string
	o := Options{
		Program: `C:\Program Files\Causeway\causeway-agent.exe`, URL: "https://causeway.example.com", Token: "cwa_id_s3cret", DryRun: true,
		Say: func(line string) { said = append(said, line) },
	}
	if err := Install(t.Context(), o, ""); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(said, "\n")
	data, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"would write " + filepath.Join(data, "causeway-agent", "token"), `system32\schtasks.exe /Create /F /TN \Causeway Agent /XML `, "/Run /TN"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "causeway-agent")); err == nil || strings.Contains(text, "s3cret") {
		t.Errorf("a dry run did something, or the token shows:\n%s", text)
	}
	for name, change := range map[string]func(*Options){
		"a variable": func(o *Options) { o.Program = `C:\%TEMP%\causeway-agent.exe` }, "a quote": func(o *Options) { o.Program = `C:\a"b.exe` },
		"relative": func(o *Options) { o.Program = "causeway-agent.exe" }, "somebody else": func(o *Options) { o.Account = "not-this-one" },
	} {
		other := o
		change(&other)
		if err := Install(t.Context(), other, ""); err == nil {
			t.Errorf("%s: installed", name)
		}
	}
}

// TestStore: the token's file is replaced whole, again and again, in a directory
// that is made for it.
func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "token")
	for _, content := range []string{"one", "another"} {
		if err := (step{write: path, content: content, mode: 0o600}).store(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%q, %v", got, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".causeway*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
