package msitest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"howett.net/plist"
)

// TestMacPackages builds all packages of macOS, with programs that do nothing,
// twice, and has other tools than ours read them.
func TestMacPackages(t *testing.T) {
	rigs(t, false)
	must(t, nil, "scripts/deps.sh", "libarchive-tools", "cpio", "file", "python3")
	w := newWork(t)
	w.stubs(t, "darwin", "")
	for _, out := range []string{"first", "second"} {
		if said, err := w.build(t, "packaging/darwin/build.sh", "1.2.3~rc.2", out); err != nil {
			t.Fatalf("it says %q, %v", said, err)
		}
	}
	if files := same(t, w.path("first"), w.path("second")); files != 8 {
		t.Errorf("%d files, want 8: two packages, two archives and four lists", files)
	}
	for name, test := range map[string]struct {
		id       string
		programs []string
		files    []string
		lists    int
	}{
		"causeway": {
			"com.causewayhq.causeway", []string{"Library/Causeway/bin/causewayd", "Library/Causeway/bin/causeway"},
			[]string{"Library/Causeway/bin/causeway-uninstall", "etc/paths.d/causeway", "etc/manpaths.d/causeway", "Library/Causeway/share/doc/LICENSE"}, 0,
		},
		"causeway-tray": {
			"com.causewayhq.tray", []string{"Applications/Causeway.app/Contents/MacOS/causeway-tray"},
			[]string{"Applications/Causeway.app/Contents/Info.plist", "Library/LaunchAgents/com.causewayhq.tray.plist"}, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// bsdtar verifies the checksums of what it unpacks.
			must(t, nil, "bsdtar", "-C", dir, "-xf", w.path("first/"+name+"-1.2.3~rc.2.pkg"))
			must(t, nil, "sh", "-euc", `cd "$1"; umask 0; mkdir -m 755 payload scripts
				(cd payload; gzip -dc "../$2.pkg/Payload" | cpio -idm --quiet)
				(cd scripts; gzip -dc "../$2.pkg/Scripts" | cpio -idm --quiet)`, "sh", dir, test.id)
			for _, program := range test.programs {
				if got := must(t, nil, "file", "-b", filepath.Join(dir, "payload", program)); !strings.Contains(got, "universal binary with 2 architectures") ||
					!strings.Contains(got, "x86_64") || !strings.Contains(got, "arm64") {
					t.Errorf("%s is %s", program, got)
				}
			}
			for _, file := range append(test.files, test.programs...) {
				if info, err := os.Stat(filepath.Join(dir, "payload", file)); err != nil || info.Size() == 0 {
					t.Errorf("%s: %v", file, err)
				}
			}
			if scripts, err := os.ReadDir(filepath.Join(dir, "scripts")); err != nil || len(scripts) == 0 {
				t.Errorf("%d scripts, %v", len(scripts), err)
			}
			listed := must(t, []string{"CAUSEWAY_BOM=" + filepath.Join(dir, test.id+".pkg", "Bom"), "CAUSEWAY_PAYLOAD=" + filepath.Join(dir, "payload")},
				"go", "test", "-count=1", "-v", "-run", "^TestGivenBillOfMaterials$", "./internal/macpkg")
			if !strings.Contains(listed, "--- PASS: TestGivenBillOfMaterials") {
				t.Errorf("nobody read the bill of materials:\n%s", listed)
			}
			checkLists(t, filepath.Join(dir, "payload"), test.lists)
		})
	}
}

// checkLists has two strict readers read every property list. Python refuses a
// key without a value.
func checkLists(t *testing.T, dir string, want int) {
	t.Helper()
	found := strings.Fields(must(t, nil, "find", dir, "-name", "*.plist"))
	for _, path := range found {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var list map[string]any
		if err := plist.NewDecoder(bytes.NewReader(content)).Decode(&list); err != nil || len(list) < 4 {
			t.Errorf("%s: %d keys, %v", path, len(list), err)
		}
		const read = `import plistlib, sys; print(len(plistlib.load(open(sys.argv[1], "rb"))))`
		if got := strings.TrimSpace(must(t, nil, "python3", "-c", read, path)); got == "0" {
			t.Errorf("%s has no keys", path)
		}
		if strings.Contains(string(content), "@VERSION@") {
			t.Errorf("%s: the version is missing", path)
		}
	}
	if len(found) != want {
		t.Errorf("%d property lists, want %d", len(found), want)
	}
}
