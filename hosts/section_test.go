package hosts

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

var (
	addrA = netip.MustParseAddr("fd60:627a:a42b::a")
	addrB = netip.MustParseAddr("fd60:627a:a42b::b")
	one   = []Entry{{"main.myws.me.coder", addrA}}
	two   = []Entry{{"main.myws.me.coder", addrA}, {"main_agent-1.x.admin.coder", addrB}}
)

func mustAdd(t testing.TB, content string, entries []Entry) string {
	t.Helper()
	got, err := add([]byte(content), entries, LF, false)
	if err != nil {
		t.Fatalf("add to %q: %v", content, err)
	}
	return string(got)
}

func mustRemove(t testing.TB, content string) string {
	t.Helper()
	got, err := Remove([]byte(content))
	if err != nil {
		t.Fatalf("remove from %q: %v", content, err)
	}
	return string(got)
}

// section is what add puts behind an empty file.
func section(t testing.TB, entries []Entry) string { return mustAdd(t, "", entries) }

func TestFormat(t *testing.T) {
	got := mustAdd(t, "127.0.0.1 localhost\n", two)
	lines := strings.Split(got, "\n")
	want := []string{"127.0.0.1 localhost", lines[1], "fd60:627a:a42b::a main.myws.me.coder", "fd60:627a:a42b::b main_agent-1.x.admin.coder", "# <<< causeway", ""}
	if strings.Join(want, "\n") != got || !strings.HasPrefix(lines[1], "# >>> causeway: ") {
		t.Errorf("got\n%s", got)
	}
}

func TestAddKeepsTheRest(t *testing.T) {
	own := section(t, one)
	cases := []struct{ title, content, want string }{
		{"empty", "", own},
		{"BOM only", "\xef\xbb\xbf", "\xef\xbb\xbf" + own},
		{"BOM and section", "\xef\xbb\xbf" + section(t, two), "\xef\xbb\xbf" + own},
		{"in the middle", "a\n" + section(t, two) + "b\n", "a\n" + own + "b\n"},
		{"marker in a line", "x # >>> causeway\n# <<< causeway\n", "x # >>> causeway\n# <<< causeway\n" + own},
		{"indented marker", " # >>> causeway\n y\n# <<< causeway\n", " # >>> causeway\n y\n# <<< causeway\n" + own},
		{"another's marker", "# >>> causeways\n y\n# <<< causeway\n", "# >>> causeways\n y\n# <<< causeway\n" + own},
		{"unmatched start", "# >>> causeway\n::1 x\n", "# >>> causeway\n::1 x\n" + own},
		{"unmatched start, then a section", "# >>> causeway\n::1 x\n" + section(t, two) + "y\n", "# >>> causeway\n::1 x\n" + own + "y\n"},
		{"unmatched end", "# <<< causeway\n::1 x\n", "# <<< causeway\n::1 x\n" + own},
		{"two sections", "a\n" + section(t, two) + "b\n" + section(t, one) + "c\n", "a\nb\nc\n" + own},
		{"markers with spaces at the end", "a\n# >>> causeway  \n::1 x\n# <<< causeway\t\nb\n", "a\n" + own + "b\n"},
		{"our lines, end marker lost", "a\n" + strings.TrimSuffix(section(t, two), "# <<< causeway\n"), "a\n" + own},
		{"end marker without a line end", "a\n" + strings.TrimSuffix(section(t, two), "\n"), "a\n" + own},
	}
	for _, c := range cases {
		if got := mustAdd(t, c.content, one); got != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.title, got, c.want)
		}
		if got := mustAdd(t, c.want, one); got != c.want {
			t.Errorf("%s: adding again changed it to %q", c.title, got)
		}
	}
}

func TestLineEnds(t *testing.T) {
	for _, c := range []struct{ content, eol, want string }{
		{"", CRLF, CRLF},
		{"", LF, LF},
		{"no line end", CRLF, CRLF},
		{"a\r\nb\r\nc\n", LF, CRLF},
		{"a\nb\nc\r\n", CRLF, LF},
		{"a\nb\r\n", CRLF, CRLF},
		{"a\nb\r\n", LF, LF},
		{"a\r\n", LF, CRLF},
	} {
		got, err := add([]byte(c.content), one, c.eol, false)
		if err != nil {
			t.Fatal(err)
		}
		added := strings.TrimPrefix(string(got), c.content)
		if (strings.Count(added, CRLF) == strings.Count(added, LF)) != (c.want == CRLF) {
			t.Errorf("%q: added %q", c.content, added)
		}
		if back := mustRemove(t, string(got)); back != c.content {
			t.Errorf("%q came back as %q", c.content, back)
		}
	}
}

func TestSomebodyWritesBehindTheSection(t *testing.T) {
	got := mustAdd(t, "127.0.0.1 localhost", one) + "192.0.2.1 printer\n"
	if back := mustRemove(t, got); back != "127.0.0.1 localhost\n192.0.2.1 printer\n" {
		t.Errorf("got %q", back)
	}
}

func TestUTF16IsRefused(t *testing.T) {
	for _, content := range []string{"\xff\xfea\x00", "\xfe\xff\x00a"} {
		if _, err := add([]byte(content), one, LF, false); !errors.Is(err, ErrEncoding) {
			t.Errorf("add to %q: %v", content, err)
		}
		if _, err := Remove([]byte(content)); !errors.Is(err, ErrEncoding) {
			t.Errorf("remove from %q: %v", content, err)
		}
	}
}

func TestInvalidEntriesAreLeftOut(t *testing.T) {
	bad := []Entry{
		{"", addrA}, {"a b", addrA}, {"a\n127.0.0.1 bank", addrA}, {"a#", addrA}, {"a\x00", addrA}, {"ü", addrA}, {"x.coder", netip.Addr{}},
		{"x.coder", netip.MustParseAddr("fe80::1%eth0")}, {strings.Repeat("x", 254), addrA}, {"a\r", addrA}, {"a\t", addrA},
	}
	if got, want := mustAdd(t, "", append(bad, one...)), section(t, one); got != want {
		t.Errorf("got %q", got)
	}
}

// pieces are joined at random to files that come close to having sections.
func pieces(t testing.TB) []string {
	return []string{
		"127.0.0.1 localhost\n", "::1 x\r\n", "\n", "\r\n", "\r", " ", "\t", "#", "a", "\xef\xbb\xbf", "\x00", "\xff", strings.Repeat("long ", 14000),
		"# >>> causeway", "# >>> causeway\n", "# >>> causeway (, line end added before, file created)\r\n", "# <<< causewa", "y\n",
		strings.TrimSuffix(section(t, one), endMarker+"\n"), section(t, two)[:40],
		"\xff\xfe", "\xfe\xff", wide("127.0.0.1 localhost\r\n", 0), wide(section(t, one), 1), "\r\r\n",
	}
}

// wide is UTF-16 of ASCII, little endian or, with 1, big endian.
func wide(text string, bigEndian int) string {
	bytes := make([]byte, 2*len(text))
	for i := range len(text) {
		bytes[2*i+bigEndian] = text[i]
	}
	return string(bytes)
}

// TestRemoveUndoesAdd is the promise of the package, for files without a
// section; and for all files, adding leaves exactly one more thing to remove.
func TestRemoveUndoesAdd(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	parts := pieces(t)
	parts = append(parts, "# <<< causeway\n", section(t, one))
	for range 2_000 {
		var content strings.Builder
		for range random.IntN(7) {
			content.WriteString(parts[random.IntN(len(parts))])
		}
		checkRoundTrip(t, []byte(content.String()))
	}
}

func checkRoundTrip(t testing.TB, content []byte) {
	t.Helper()
	clean, err := Remove(content)
	if wide := bytes.HasPrefix(content, bomsWide[0]) || bytes.HasPrefix(content, bomsWide[1]); wide || err != nil {
		if _, also := add(content, one, LF, false); !wide || !errors.Is(err, ErrEncoding) || !errors.Is(also, ErrEncoding) {
			t.Fatalf("%q: %v, %v", content, err, also)
		}
		return
	}
	if len(find(content)) == 0 && !bytes.Equal(clean, content) {
		t.Fatalf("%q has no section, but became %q", content, clean)
	}
	for _, eol := range []string{LF, CRLF} {
		for _, entries := range [][]Entry{one, two} {
			added, err := add(content, entries, eol, false)
			if err != nil {
				t.Fatalf("add to %q: %v", content, err)
			}
			if !bytes.Contains(added, []byte("fd60:627a:a42b::a main.myws.me.coder")) {
				t.Fatalf("%q: the entry is not in %q", content, added)
			}
			back, err := Remove(added)
			if err != nil {
				t.Fatal(err)
			}
			// Taking sections out can bring stray markers together.
			if len(find(clean)) == 0 && !bytes.Equal(back, clean) {
				t.Fatalf("remove(add(%q))\n  is %q\nwant %q\nadded %q", content, back, clean, added)
			}
		}
	}
}

func FuzzSection(f *testing.F) {
	for _, piece := range pieces(f) {
		f.Add([]byte(piece))
		f.Add([]byte(piece + section(f, one) + piece))
	}
	f.Fuzz(func(t *testing.T, content []byte) { checkRoundTrip(t, content) })
}
