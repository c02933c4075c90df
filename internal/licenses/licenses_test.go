package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEveryModule holds that the licence of every module that is linked into a
// program, on any system, is on the list.
func TestEveryModule(t *testing.T) {
	var paths []string
	for _, system := range []string{"linux", "windows", "darwin"} {
		cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "github.com/causewayhq/causeway/cmd/...")
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		var failure bytes.Buffer
		cmd.Stderr = &failure
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, failure.Bytes())
		}
		paths = append(paths, strings.Fields(string(output))...)
	}
	modules, err := find(paths)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(modules); err != nil {
		t.Error(err)
	}
	// A licence that nobody uses any more is taken off.
	used := map[string]bool{}
	for _, module := range modules {
		for _, text := range module.Texts {
			used[text.Hash] = true
		}
	}
	for hash, name := range allowed() {
		if !used[hash] {
			t.Errorf("allowed.txt: %s (%s) is no module's", hash, name)
		}
	}
	if len(modules) < 40 {
		t.Errorf("%d modules only: the list is not whole", len(modules))
	}
	t.Logf("figure: %d modules, %d licence texts", len(modules), len(allowed()))
}

// TestFingerprint holds what a fingerprint minds: the conditions, not who gives
// them or how they are wrapped.
func TestFingerprint(t *testing.T) {
	one := "Copyright (c) 2009 The Go Authors. All rights reserved.\n\nRedistribution is permitted, provided that\nthe above is kept.\n"
	other := "copyright 2020 Somebody\nRedistribution is permitted\nprovided that the above is kept"
	if fingerprint(one) != fingerprint(other) {
		t.Error("another holder makes another licence")
	}
	for _, changed := range []string{
		strings.Replace(one, "is permitted", "is not permitted", 1),
		one + "For evaluation only.",
		"",
	} {
		if fingerprint(changed) == fingerprint(one) {
			t.Errorf("%q counts as the same licence", changed)
		}
	}
}

// TestRefused holds that a module without a licence, and one with a licence
// that was not read, stop the build of the packages, and say what to do.
func TestRefused(t *testing.T) {
	known, err := os.ReadFile(filepath.Join(goroot(t), "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"Known":        {files: map[string]string{"LICENSE": string(known)}},
		"None":         {files: map[string]string{"README": "hello"}, want: "no licence"},
		"Unknown":      {files: map[string]string{"LICENSE.txt": "You owe us a beer."}, want: "not on the list"},
		"Empty":        {files: map[string]string{"LICENSE": "Copyright 2020 Somebody\n"}, want: "not on the list"},
		"KnownAndMore": {files: map[string]string{"LICENSE": string(known), "COPYING": "And a beer."}, want: "not on the list"},
		"NoticeAlone":  {files: map[string]string{"NOTICE": "This is ours."}, want: "no licence"},
		"NoticeBeside": {files: map[string]string{"NOTICE": "This is ours.", "LICENSE": string(known)}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			texts, err := read(dir)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(check([]module{{Path: "example.com/x", Version: "v1.0.0", Texts: texts}}))
			if c.want == "" && got != "<nil>" || c.want != "" && !strings.Contains(got, c.want) {
				t.Errorf("%s; want %q", got, c.want)
			}
		})
	}
}

func goroot(t *testing.T) string {
	t.Helper()
	output, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

// TestWrite holds that a text that many share is printed once, below them all.
func TestWrite(t *testing.T) {
	var out bytes.Buffer
	write(&out, []module{
		{Path: "example.com/a", Version: "v1.0.0", Texts: []text{{Name: "MIT", Text: "the text\n"}}},
		{Path: "example.com/b", Version: "v2.0.0", Texts: []text{{Name: "MIT", Text: "the text\n"}, {Name: notice, Text: "the notice"}}},
	})
	got := out.String()
	if strings.Count(got, "the text") != 1 || strings.Count(got, "the notice") != 1 {
		t.Errorf("texts are missing, or there twice:\n%s", got)
	}
	var at []int
	for _, want := range []string{"example.com/a v1.0.0 (MIT)", "example.com/b v2.0.0 (MIT)", "the text", "example.com/b v2.0.0 (NOTICE)", "the notice"} {
		at = append(at, strings.Index(got, want))
	}
	if at[0] < 0 || !slices.IsSorted(at) {
		t.Errorf("order %v:\n%s", at, got)
	}
}
