package msitest

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/windows/registry"
)

// inventory is what a machine has: each file and registry value, with its size
// or content.
type inventory map[string]string

// Directories and keys that Windows or the test itself changes, in small
// letters.
var others = []string{
	`c:\rig`, `c:\users\root\temp`, `c:\users\root\appdata\local\temp`, `c:\windows\temp`,
	`hkcu\software\wine`, `hklm\software\microsoft\windows nt\currentversion\prefetcher`, `hklm\system\currentcontrolset\control\windows`,
	`hklm\software\microsoft\windows\currentversion\installer\rollback`, `hklm\system\currentcontrolset\control\servicecurrent`,
}

// containers are what Windows Installer makes for the first package of anybody,
// and keeps.
var containers = []string{
	`C:\windows\Installer`, `HKLM\SOFTWARE\Classes\Installer`, `HKLM\SOFTWARE\Classes\Installer\Features`, `HKLM\SOFTWARE\Classes\Installer\Products`,
	`HKLM\SOFTWARE\Classes\Installer\UpgradeCodes`, installerKey + `\UpgradeCodes`, installerKey + `\UserData`, installerKey + `\UserData\S-1-5-18`,
	installerKey + `\UserData\S-1-5-18\Components`, installerKey + `\UserData\S-1-5-18\Products`,
}

const installerKey = `HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Installer`

// trees are where files of programs and of their users are. The other directories
// of a user lead out of Wine.
var trees = []string{`C:\Program Files`, `C:\Program Files (x86)`, `C:\ProgramData`, `C:\windows`, `C:\users\Public`, `C:\users\root\AppData\Roaming\Microsoft\Windows\Start Menu`}

func leftOut(path string) bool {
	path = strings.ToLower(path)
	return slices.ContainsFunc(others, func(other string) bool { return path == other || strings.HasPrefix(path, other+`\`) })
}

func takeInventory(t *testing.T) inventory {
	t.Helper()
	found := inventory{}
	for _, dir := range trees {
		if err := filepath.WalkDir(dir, found.file); err != nil {
			t.Fatal(err)
		}
	}
	for _, hive := range []struct {
		name string
		key  registry.Key
		path string
	}{
		{`HKLM`, registry.LOCAL_MACHINE, `SOFTWARE`},
		{`HKLM`, registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet`},
		{`HKCU`, registry.CURRENT_USER, `Software`},
		{`HKCU`, registry.CURRENT_USER, `Environment`},
	} {
		found.registry(hive.name, hive.key, hive.path)
	}
	t.Logf("%d entries", len(found))
	if len(found) < 10_000 {
		t.Fatalf("an inventory of %d entries proves nothing", len(found))
	}
	return found
}

func (found inventory) file(path string, entry fs.DirEntry, err error) error {
	switch {
	case leftOut(path):
		if entry != nil && entry.IsDir() {
			return fs.SkipDir
		}
	case err != nil || entry.IsDir():
		found[path] = "directory"
	default:
		if info, err := entry.Info(); err == nil {
			found[path] = fmt.Sprint(info.Size(), " bytes")
		}
	}
	return nil
}

func (found inventory) registry(name string, hive registry.Key, path string) {
	if leftOut(name + `\` + path) {
		return
	}
	key, err := registry.OpenKey(hive, path, registry.READ)
	if err != nil {
		return
	}
	defer key.Close()
	at := name + `\` + path
	found[at] = "key"
	values, err := key.ReadValueNames(-1)
	if err == nil {
		for _, value := range values {
			content := make([]byte, 4096)
			n, kind, _ := key.GetValue(value, content)
			if value == "PATH" {
				// Wine takes the directory away and leaves the separator.
				n = len(bytes.TrimRight(content[:n], ";\x00"))
			}
			found[at+`\\`+value] = fmt.Sprintf("%d: %q", kind, content[:min(n, len(content))])
		}
	}
	keys, err := key.ReadSubKeyNames(-1)
	if err != nil {
		return
	}
	for _, sub := range keys {
		if sub == "Wow6432Node" {
			continue // for programs of 32 bits, and half of it is the same again
		}
		found.registry(name, hive, path+`\`+sub)
	}
}

// since lists what came, went or changed.
func (found inventory) since(before inventory) []string {
	var list []string
	for _, path := range slices.Sorted(maps.Keys(found)) {
		if slices.Contains(containers, path) {
			continue
		}
		if was, there := before[path]; !there {
			list = append(list, "+ "+path)
		} else if was != found[path] {
			list = append(list, fmt.Sprintf("~ %s: %s, was %s", path, found[path], was))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(before)) {
		if slices.Contains(containers, path) {
			continue
		}
		if _, there := found[path]; !there {
			list = append(list, "- "+path)
		}
	}
	return list
}
