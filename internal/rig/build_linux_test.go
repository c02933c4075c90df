package rig

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"tailscale.com/feature/featuretags"
)

// needed says what goes wrong without a part of upstream that we use, though
// it builds: none of its tags may be among ours.
var needed = map[featuretags.FeatureTag]string{
	"netlog":         "magicsock counts no packets: the tunnel does not learn which path they take",
	"health":         "upstream always believes the control plane to be away, or never",
	"netstack":       "the agent's network stack gets no packets",
	"gro":            "the agent's network stack is slow",
	"portmapper":     "no port mapping, so fewer direct paths",
	"useproxy":       "relays are not reached through a proxy",
	"captiveportal":  "behind a portal's sign-in page the network looks well",
	"cachenetmap":    "a peer's new disco key is not taken from the tunnel",
	"cloud":          "public addresses of a cloud's machines are not found",
	"bakedroots":     "relays with a certificate of Let's Encrypt fail where the system's roots are old",
	"listenrawdisco": "TS_ENABLE_RAW_DISCO does nothing",
	"debug":          "the agent's page /debug/magicsock is empty",
}

// The tags leave out something, are upstream's, and nothing that we use.
func TestTags(t *testing.T) {
	tags, err := Tags(t.Context())
	if err != nil || len(tags) == 0 {
		t.Fatalf("tags %v, %v", tags, err)
	}
	for _, tag := range tags {
		name, found := strings.CutPrefix(tag, "ts_omit_")
		feature := featuretags.FeatureTag(name)
		if _, known := featuretags.Features[feature]; !found || !known {
			t.Errorf("%s is no tag of upstream's", tag)
		}
		for other, harm := range needed {
			if featuretags.Requires(other).Contains(feature) {
				t.Errorf("%s leaves out %s: %s", tag, other, harm)
			}
		}
	}
	for feature := range needed {
		if _, known := featuretags.Features[feature]; !known {
			t.Errorf("upstream has no feature %q any more", feature)
		}
	}
}

// What the programs are linked from without the tags, and would keep the size
// of if a tag were lost.
func TestTagsLeaveOut(t *testing.T) {
	tags, err := Tags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", strings.Join(tags, ","), "github.com/causewayhq/causeway/cmd/causewayd")
	output, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(string(output))
	if !slices.Contains(linked, "tailscale.com/wgengine/magicsock") {
		t.Fatal("the list does not even have magicsock")
	}
	for _, absent := range []string{"html/template", "net/http/pprof", "tailscale.com/tsweb", "github.com/fxamacker/cbor/v2", "tailscale.com/util/syspolicy/setting"} {
		if slices.Contains(linked, absent) {
			t.Errorf("%s is linked into causewayd", absent)
		}
	}
}
