package platform

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var (
	ourServer = netip.MustParseAddr("fd60:627a:a42b::53")
	content   = encodeResolver([]netip.Addr{ourServer})
)

func TestResolverFileGolden(t *testing.T) {
	servers := []netip.Addr{ourServer, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	const want = `# Added by Causeway, which removes it when the tunnel goes down; edits are lost.
nameserver fd60:627a:a42b::53
nameserver 192.0.2.1
nameserver 192.0.2.2
`
	if got := string(encodeResolver(servers)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOwnership(t *testing.T) {
	for text, want := range map[string]bool{
		string(content):                         true,
		"# Added by Causeway, in other words\n": true,
		"":                                      false,
		"nameserver 192.0.2.1\n" + string(content):           false,
		" # Added by Causeway, with a space before\n":        false,
		"# Added by Causeways\n":                             false,
		"# Added by Tailscale\nnameserver 100.100.100.100\n": false,
	} {
		if got := isOurs([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestFileNames(t *testing.T) {
	for _, good := range []string{"coder", "myws.me.coder", "b.2.4.a.a.7.2.6.0.6.d.f.ip6.arpa", "a_b-c"} {
		if err := checkFileName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "/", "/etc/passwd", "../passwd", "a/../../passwd", `a\b`, "a:b", "a..b", ".hidden", "dot.", "zero\x00", tempFile} {
		if err := checkFileName(bad); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}

func TestPlanResolver(t *testing.T) {
	ours := func(name string) resolverFile { return resolverFile{name: name, ours: true, content: content} }
	tests := []struct {
		name     string
		have     []resolverFile
		suffixes []string
		want     resolverPlan
	}{
		{"nothing", nil, nil, resolverPlan{}},
		{"new, each once", nil, []string{"coder", "a", "coder"}, resolverPlan{write: []string{"a", "coder"}}},
		{"in place", []resolverFile{ours("coder")}, []string{"coder"}, resolverPlan{}},
		{"other content", []resolverFile{{name: "coder", ours: true, content: []byte(ownershipMark)}}, []string{"coder"}, resolverPlan{write: []string{"coder"}}},
		{"not wanted", []resolverFile{ours("old"), ours("coder")}, []string{"coder"}, resolverPlan{remove: []string{"old"}}},
		{"foreign in the way", []resolverFile{{name: "coder"}, ours("old")}, []string{"coder"}, resolverPlan{foreign: []string{"coder"}, remove: []string{"old"}}},
		{"foreign in upper case", []resolverFile{{name: "Coder"}}, []string{"coder"}, resolverPlan{foreign: []string{"Coder"}}},
		{"ours in upper case", []resolverFile{{name: "Coder", ours: true}}, nil, resolverPlan{remove: []string{"Coder"}}},
		{"foreign elsewhere", []resolverFile{{name: "corp"}}, []string{"coder"}, resolverPlan{write: []string{"coder"}}},
	}
	for _, test := range tests {
		got := planResolver(test.have, test.suffixes, content)
		if !slices.Equal(got.write, test.want.write) || !slices.Equal(got.remove, test.want.remove) || !slices.Equal(got.foreign, test.want.foreign) {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}

// FuzzResolver: whatever is in a file, it is ours only by its first line, and
// what we write is ours; a name that is taken stays in the directory.
func FuzzResolver(f *testing.F) {
	f.Add("coder", content)
	f.Add("../x", []byte("nameserver 192.0.2.1"))
	f.Add("A", []byte("\xef\xbb\xbf"+ownershipLine))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		if isOurs(text) != bytes.HasPrefix(text, []byte("# Added by Causeway,")) {
			t.Errorf("ownership of %q", text)
		}
		if checkFileName(name) == nil && (name == "." || strings.ContainsAny(name, "/\\:") || strings.Contains(name, "..")) {
			t.Errorf("took %q", name)
		}
		file := resolverFile{name: name, ours: isOurs(text), content: text}
		plan := planResolver([]resolverFile{file}, []string{"coder"}, content)
		if !file.ours && (slices.Contains(plan.write, name) || slices.Contains(plan.remove, name)) {
			t.Errorf("touches the foreign %q: %+v", name, plan)
		}
		if plan.write == nil && plan.foreign == nil && !bytes.Equal(text, content) {
			t.Errorf("leaves %q with %q", name, text)
		}
	})
}
