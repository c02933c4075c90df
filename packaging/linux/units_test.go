package linux

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestUnits(t *testing.T) {
	units, err := Units("/opt/x/causewayd", "/opt/x/causeway")
	if err != nil {
		t.Fatal(err)
	}
	if len(units) != 4 || len(Names()) != 4 {
		t.Errorf("%d units of %v", len(units), Names())
	}
	for name, text := range units {
		if strings.Contains(text, "/usr/bin/") || !strings.HasPrefix(text, Mark) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
	if !strings.Contains(units["causeway-wait-online.service"], "\nExecStart=/opt/x/causeway wait --for dns --timeout 90s\n") {
		t.Error(units["causeway-wait-online.service"])
	}
	units, err = Units("/opt/x/causewayd", "")
	if err != nil || len(units) != 2 {
		t.Errorf("%v, %d units without the command line", err, len(units))
	}
	for _, path := range []string{"causewayd", "/a/../b", "/a b", "/a%n", "/a\nExecStartPre=/evil", "/a$X", "/{{x}}", ""} {
		if _, err := Units(path, ""); err == nil {
			t.Errorf("%q is taken", path)
		}
	}
}

// TestAgentFiles holds that a start without a file that the unit needs names it:
// by itself systemd says only that resources are unavailable.
func TestAgentFiles(t *testing.T) {
	unit, err := os.ReadFile("causeway-agent@.service")
	if err != nil {
		t.Fatal(err)
	}
	needed := regexp.MustCompile(`(?m)^(?:EnvironmentFile=|LoadCredential=\w+:)(/.*)$`).FindAllStringSubmatch(string(unit), -1)
	if len(needed) != 2 {
		t.Fatalf("it needs %q", needed)
	}
	for _, file := range needed {
		if !strings.Contains(string(unit), "\nAssertPathExists="+file[1]+"\n") {
			t.Errorf("nothing asserts %s", file[1])
		}
	}
}
