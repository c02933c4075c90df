package nrpt

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// TestGoldenBytes spells out what Windows expects, byte by byte.
func TestGoldenBytes(t *testing.T) {
	want, err := NewWant([]string{"x", "ab.c", "X"}, []netip.Addr{netip.MustParseAddr("fd60::1"), netip.MustParseAddr("::ffff:192.0.2.7")})
	if err != nil {
		t.Fatal(err)
	}
	golden := []struct {
		name, bytes string
		kind        uint32
	}{
		{"Comment", wide("Names of your workspaces. Written and removed by Causeway.") + "0000", 1},
		{"DisplayName", "43006100750073006500770061007900" + "0000", 1},
		{"Version", "02000000", 4},
		{"ConfigOptions", "08000000", 4},
		// fd60::1;192.0.2.7
		{"GenericDNSServers", "660064003600300" + "03a003a0031003b003100390032002e0030002e0032002e0037000000", 1},
		// .ab.c NUL .x NUL NUL
		{"Name", "2e00610062002e006300" + "0000" + "2e007800" + "0000" + "0000", 7},
	}
	values := encode(want.names, want.servers)
	if len(values) != len(golden) {
		t.Fatalf("%d values", len(values))
	}
	for i, g := range golden {
		if v := values[i]; v.Name != g.name || v.Type != g.kind || hex.EncodeToString(v.Data) != g.bytes {
			t.Errorf("got %s of type %d: %x\nwant %s of type %d: %s", v.Name, v.Type, v.Data, g.name, g.kind, g.bytes)
		}
	}
	if id := ruleID(26); id != "{BCB45848-9EE4-4D46-B5E6-C8BAB9F7001A}" || !inNamespace(id) || !inNamespace(strings.ToLower(id)) {
		t.Errorf("identifier %s", id)
	}
	if inNamespace("{BCB45848-9EE4-4D46-B5E6-C8BAB9F7001A}0") || inNamespace(foreignID) || inNamespace("") {
		t.Error("a foreign identifier is taken for ours")
	}
}

// wide is UTF-16 of ASCII, in hexadecimal digits.
func wide(text string) string {
	var digits strings.Builder
	for _, b := range []byte(text) {
		digits.WriteString(hex.EncodeToString([]byte{b, 0}))
	}
	return digits.String()
}

func TestWantRefuses(t *testing.T) {
	server := netip.MustParseAddr("fd60::1")
	for _, suffix := range []string{"", ".", ".coder", "coder.", "a..b", "a b", "ü", "a\x00b", strings.Repeat("x", 64), strings.Repeat("x.", 127) + "xy"} {
		if _, err := NewWant([]string{"ok", suffix}, []netip.Addr{server}); err == nil {
			t.Errorf("suffix %q was taken", suffix)
		}
	}
	for _, addr := range []netip.Addr{{}, netip.IPv6Unspecified(), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("ff02::1")} {
		if _, err := NewWant([]string{"ok"}, []netip.Addr{addr}); err == nil {
			t.Errorf("server %v was taken", addr)
		}
	}
	if _, err := NewWant([]string{"ok"}, nil); err == nil {
		t.Error("no server was taken")
	}
}

func TestDecode(t *testing.T) {
	cases := []struct {
		kind uint32
		hex  string
		want []string
	}{
		{regMultiSZ, "", nil},
		{regMultiSZ, "0000", nil},
		{regMultiSZ, "00", nil},
		{regMultiSZ, "2e0078000000", []string{".x"}}, // without the last terminator
		{regMultiSZ, "2e007800", []string{".x"}},     // without any
		{regMultiSZ, "2e00780000002e00790000000000", []string{".x", ".y"}},
		{regMultiSZ, "2e007800000000002e0079000000", []string{".x"}}, // behind the end
		{regSZ, "2e00780000002e0079000000", []string{".x"}},
		{regMultiSZ, "2e0078", []string{"."}}, // half a character
		{regDWORD, "2e007800", nil},
	}
	for _, c := range cases {
		data, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		if got := decodeTexts(Value{Type: c.kind, Data: data}); !slices.Equal(got, c.want) {
			t.Errorf("%d %s: %q, want %q", c.kind, c.hex, got, c.want)
		}
	}
}

// FuzzDecode takes any bytes for the values of a rule, and plans with it, as
// ours and as another's: what is another's stays, and what is ours ends as it
// should be.
func FuzzDecode(f *testing.F) {
	f.Add(uint32(regMultiSZ), encodeTexts([]string{".coder", "."}), encodeText("192.0.2.1"))
	f.Add(uint32(regSZ), []byte{0x2e}, []byte{0, 0xd8})
	f.Add(uint32(regDWORD), []byte{8, 0, 0, 0}, []byte(nil))
	want, err := NewWant(suffixes(0, 60), servers)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind uint32, names, text []byte) {
		values := []Value{{valueName, kind, names}, {valueServers, kind, text}, {valueComment, regSZ, text}}
		rule := decode(foreignID, values)
		for _, name := range rule.Names {
			if name == "" || len(utf16.Encode([]rune(name))) > len(names)/2 {
				t.Fatalf("name %q out of %x", name, names)
			}
		}
		h := newMemory()
		h.places[Local] = map[string][]Value{foreignID: values, ruleID(0): values[:2]}
		h.places[Policy] = map[string][]Value{foreignID2: values}
		journal := &listed{}
		if err := rules(h, journal, newSystem()).SetDNS(t.Context(), suffixes(0, 60), servers); err != nil {
			t.Fatal(err)
		}
		if rule.Comment != mark {
			if !same(h.places[Local][foreignID], values) || !same(h.places[Policy][foreignID2], values) {
				t.Fatal("a foreign rule was changed")
			}
			checkSettled(t, h, journal, suffixes(0, 60))
		}
		_ = rivals(State{Local: []Found{{foreignID, values}}}, want)
	})
}
