package packagetest

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bill is the part of a CycloneDX document that is checked.
type bill struct {
	BOMFormat    string `json:"bomFormat"`
	SerialNumber string `json:"serialNumber"`
	Components   []struct {
		Type, Name, Version, PURL string
		Ref                       string `json:"bom-ref"`
		Hashes                    []struct{ Alg, Content string }
		Licenses                  []struct{ Expression string }
	}
	Dependencies []struct {
		Ref       string
		DependsOn []string
	}
}

// TestBills holds that the list beside each package is of that package: its
// programs, to the byte, and every module that they were linked from, with sum
// and licence.
func TestBills(t *testing.T) {
	whole(t)
	for name, programs := range map[string][]string{
		"causeway": {"causewayd", "causeway"}, "causeway-agent": {"causeway-agent"}, "causeway-server": {"causeway-server"}, "causeway-tray": {"causeway-tray"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			deb := filepath.Join(packages, "v"+first, name+"_"+first+"_amd64.deb")
			if output, err := exec.Command("dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, output)
			}
			content, err := os.ReadFile(strings.TrimSuffix(deb, ".deb") + ".cdx.json")
			must(t, err)
			var list bill
			must(t, json.Unmarshal(content, &list))
			if list.BOMFormat != "CycloneDX" || !strings.HasPrefix(list.SerialNumber, "urn:uuid:") {
				t.Errorf("%q, %q", list.BOMFormat, list.SerialNumber)
			}
			modules := map[string]bool{}
			for _, program := range programs {
				path := filepath.Join(dir, "usr/bin", program)
				list.holdsProgram(t, path)
				info, err := buildinfo.ReadFile(path)
				must(t, err)
				for _, module := range info.Deps {
					modules[module.Path] = true
					list.holdsModule(t, module.Path, module.Version)
				}
			}
			// And nothing else but the programs and Go's own library.
			if got, want := len(list.Components), len(modules)+len(programs)+1; got != want || len(modules) < 3 {
				t.Errorf("%d components, want %d", got, want)
			}
			figure(t, "%s: %d modules of others, each with sum and licence", name, len(modules))
		})
	}
}

func (b bill) holdsProgram(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	sum := sha256.Sum256(content)
	for _, component := range b.Components {
		if component.Name == filepath.Base(path) && component.Type == "application" {
			if len(component.Hashes) != 1 || component.Hashes[0].Content != hex.EncodeToString(sum[:]) {
				t.Errorf("the list is of another %s: %v", component.Name, component.Hashes)
			}
			at := slices.IndexFunc(b.Dependencies, func(edge struct {
				Ref       string
				DependsOn []string
			},
			) bool {
				return edge.Ref == component.Ref
			})
			if at < 0 || len(b.Dependencies[at].DependsOn) < 3 {
				t.Errorf("%s depends on nothing", component.Name)
			}
			return
		}
	}
	t.Errorf("%s is not in the list", path)
}

func (b bill) holdsModule(t *testing.T, path, version string) {
	t.Helper()
	for _, component := range b.Components {
		if component.Name == path && component.Version == version {
			if len(component.Hashes) != 1 || len(component.Licenses) != 1 || component.Licenses[0].Expression == "" || component.PURL != "pkg:golang/"+path+"@"+version {
				t.Errorf("%+v is not whole", component)
			}
			return
		}
	}
	t.Errorf("%s %s is not in the list", path, version)
}
