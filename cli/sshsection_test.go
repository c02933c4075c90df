package cli

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzSection: whatever stands in the file, our section comes and goes without a
// trace, or nothing is done at all.
func FuzzSection(f *testing.F) {
	for _, seed := range []string{
		"", "\n", "Host a\n  User b", "Host a\r\n", "\r", "\x00\xff", sectionBegin, sectionEnd + "\n", sectionBegin + "\n" + sectionEnd + "\nrest",
		"a\n" + sectionJoined + "\nx\n" + sectionEnd + "\n", sectionJoined + "\n" + sectionEnd, " " + sectionBegin + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(lossless)
}

func lossless(t *testing.T, file []byte) {
	bare, err := withoutSection(file)
	if err != nil {
		if _, err := withSection(file, []string{"x"}); !errors.Is(err, errDamaged) {
			t.Errorf("%q cannot be undone, and is changed", file)
		}
		return
	}
	if s, err := findSection(file); err != nil || !s.found && !bytes.Equal(bare, file) {
		t.Errorf("%q has no section, and became %q", file, bare)
	}
	once, err := withSection(file, []string{"x"})
	if err != nil {
		t.Fatalf("withSection(%q) = %v", file, err)
	}
	if again, err := withSection(once, []string{"x"}); err != nil || !bytes.Equal(again, once) {
		t.Errorf("a second time %q becomes %q, %v", once, again, err)
	}
	other, err := withSection(once, []string{"y", "z"})
	if err != nil {
		t.Fatal(err)
	}
	if undone, err := withoutSection(other); err != nil || !bytes.Equal(undone, bare) {
		t.Errorf("of %q remains %q, want %q (%v)", other, undone, bare, err)
	}
	if diff("f", file, once) == "" && !bytes.Equal(file, once) {
		t.Errorf("no difference between %q and %q", file, once)
	}
}

func TestSectionOfAnyBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"\n", "\r\n", "Host x", sectionBegin, sectionJoined, sectionAlone, sectionEnd, "\x00", " ", "é", "\n\n"}
	for range 20_000 {
		var file strings.Builder
		for range random.IntN(8) {
			file.WriteString(pieces[random.IntN(len(pieces))])
		}
		lossless(t, []byte(file.String()))
	}
}

// TestSectionInTheMiddle: what the user wrote after it stays behind it.
func TestSectionInTheMiddle(t *testing.T) {
	once, err := withSection([]byte("a"), []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	undone, err := withoutSection(append(once, "b\n"...))
	if err != nil || string(undone) != "a\nb\n" {
		t.Errorf("%q, %v", undone, err)
	}
}

func TestDiff(t *testing.T) {
	got := diff("f", []byte("1\n2\n3\n4\n5\n6\n7"), []byte("1\n2\n3\n4\nx\n6\n7"))
	want := "--- f\n+++ f\n@@ -2,6 +2,6 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n\\ No newline at end of file\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config")
	if err := replaceFile(path, nil, []byte("a")); err != nil {
		t.Fatal(err)
	}
	mode := func() fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if mode() != 0o600 {
		t.Errorf("mode %v of a new file", mode())
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(path, []byte("a"), []byte("b")); err != nil || mode() != 0o640 {
		t.Errorf("mode %v, %v", mode(), err)
	}
	if err := replaceFile(path, []byte("a"), []byte("c")); !errors.Is(err, errChanged) {
		t.Errorf("over what somebody else wrote: %v", err)
	}
	content, err := os.ReadFile(path)
	left, dirErr := os.ReadDir(filepath.Dir(path))
	if err != nil || dirErr != nil || string(content) != "b" || len(left) != 1 {
		t.Errorf("%q, %v; %d files, %v", content, err, len(left), dirErr)
	}
}

// TestRealSSHReadsTheSection: OpenSSH takes our options for our names alone, and
// the user's own first.
func TestRealSSHReadsTheSection(t *testing.T) {
	program := "/usr/bin/ssh"
	if _, err := os.Stat(program); err != nil {
		t.Skip("OpenSSH is not installed")
	}
	file, err := withSection([]byte("Host main.*.coder\n    ServerAliveInterval 77\nHost other\n    User x"), []string{"Host *.coder", "    StrictHostKeyChecking accept-new", "    ServerAliveInterval 15"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"web.coder": "stricthostkeychecking accept-new\nserveraliveinterval 15\n", "main.web.coder": "stricthostkeychecking accept-new\nserveraliveinterval 77\n",
		"other": "stricthostkeychecking ask\nserveraliveinterval 0\n",
	} {
		out, err := exec.Command(program, "-F", path, "-G", host).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got := ""
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "serveraliveinterval ") || strings.HasPrefix(line, "stricthostkeychecking ") {
				got += line
			}
		}
		if got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", host, got, want)
		}
	}
}
