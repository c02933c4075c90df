package packagetest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDescriptions holds that the descriptions of the packages name what is
// there, and that each script is in one.
func TestDescriptions(t *testing.T) {
	const top = "../.."
	descriptions, err := filepath.Glob(top + "/packaging/linux/nfpm-*.yaml")
	if err != nil || len(descriptions) != 4 {
		t.Fatalf("%v, %v", descriptions, err)
	}
	var named []string
	for _, description := range descriptions {
		content, err := os.ReadFile(description)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?:src: "?|(?:install|remove): )(packaging/[^",\s]+)`).FindAllStringSubmatch(string(content), -1) {
			named = append(named, found[1])
			if _, err := os.Stat(filepath.Join(top, found[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(description), err)
			}
		}
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(description), "nfpm-"), ".yaml")
		for _, want := range []string{"name: " + name + "\n", "arch: ${ARCH}", "version_schema: none", "buildhost: reproducible"} {
			if !strings.Contains(string(content), want) {
				t.Errorf("%s: no %q", filepath.Base(description), want)
			}
		}
	}
	scripts, err := filepath.Glob(top + "/packaging/linux/*/*.p*")
	if err != nil || len(scripts) < 18 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	for _, script := range scripts {
		if path, _ := filepath.Rel(top, script); !slices.Contains(named, path) {
			t.Errorf("%s is in no package", path)
		}
	}
}
