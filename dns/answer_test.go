package dns

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	servicePrefix = netip.MustParsePrefix("fd60:627a:a42b::/48")
	agentAddr     = netip.MustParseAddr("fd60:627a:a42b:1:2:3:4:5")
	otherAddr     = netip.MustParseAddr("fd60:627a:a42b:9:8:7:6:5")
	serviceAddr   = netip.MustParseAddr("fd60:627a:a42b::53")
)

// sentinel is the name that tells a program that the tunnel is there.
const sentinel = "is.coder--connect--enabled--right--now.coder"

// testHosts are the name forms of the protocol: agent, owner, alias, sentinel,
// and a workspace with two agents, which has no alias.
func testHosts() map[string]netip.Addr {
	return map[string]netip.Addr{
		"main.myws.me.coder":                      agentAddr,
		"main.myws.admin.coder":                   agentAddr,
		"myws.coder":                              agentAddr,
		"main_agent-1.main-workspace.admin.coder": otherAddr,
		"main_agent-1.main-workspace.me.coder":    otherAddr,
		sentinel:                                  serviceAddr,
	}
}

func published() *Resolver {
	r := New([]string{"coder"})
	r.Publish(NewTable([]string{"coder"}, 8, maps.All(testHosts()), []netip.Prefix{servicePrefix}))
	return r
}

// text is the decoded answer in the form of dig, one line.
func text(t *testing.T, wire []byte) string {
	t.Helper()
	if len(wire) == 0 {
		return "silence"
	}
	var m miekg.Msg
	if err := m.Unpack(wire); err != nil {
		t.Fatalf("decode answer %x: %v", wire, err)
	}
	var flags []string
	for _, flag := range []struct {
		set  bool
		name string
	}{
		{m.Response, "qr"}, {m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"},
		{m.RecursionAvailable, "ra"}, {m.AuthenticatedData, "ad"}, {m.CheckingDisabled, "cd"}, {m.Zero, "z"},
	} {
		if flag.set {
			flags = append(flags, flag.name)
		}
	}
	rcode := strings.Replace(miekg.RcodeToString[m.Rcode], "BADSIG", "BADVERS", 1) // both are 16
	var parts []string
	for _, rr := range m.Answer {
		parts = append(parts, "AN["+rr.String()+"]")
	}
	for _, rr := range m.Ns {
		parts = append(parts, "NS["+rr.String()+"]")
	}
	for _, rr := range m.Extra {
		if opt, ok := rr.(*miekg.OPT); ok {
			parts = append(parts, fmt.Sprintf("OPT[v%d udp %d do %t]", opt.Version(), opt.UDPSize(), opt.Do()))
			continue
		}
		parts = append(parts, "AR["+rr.String()+"]")
	}
	question := "-"
	if len(m.Question) == 1 {
		question = m.Question[0].Name + " " + miekg.TypeToString[m.Question[0].Qtype]
	}
	line := fmt.Sprintf("%s %s %s | %s", miekg.OpcodeToString[m.Opcode], rcode, strings.Join(flags, " "), question)
	if len(parts) > 0 {
		line += " | " + strings.Join(parts, " ")
	}
	return strings.ReplaceAll(line, "\t", " ")
}

// ask builds a query with an independent encoder.
func ask(t testing.TB, name string, qtype uint16, change func(*miekg.Msg)) []byte {
	t.Helper()
	m := new(miekg.Msg)
	m.SetQuestion(miekg.Fqdn(name), qtype)
	m.Id = 0xbeef
	if change != nil {
		change(m)
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatalf("pack query: %v", err)
	}
	return wire
}

func edns(version uint8, do bool) func(*miekg.Msg) {
	return func(m *miekg.Msg) {
		m.SetEdns0(4096, do)
		m.IsEdns0().SetVersion(version)
	}
}

const (
	okFlags  = "qr aa rd ra ad"
	coderSOA = "NS[coder. 2 IN SOA coder. hostmaster.coder. 1 3600 600 86400 2]"
)

func reverse(t *testing.T, addr netip.Addr) string {
	t.Helper()
	name, err := miekg.ReverseAddr(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAnswers(t *testing.T) {
	unknown := netip.MustParseAddr("fd60:627a:a42b:dead::1")
	foreign := netip.MustParseAddr("fd7a:115c:a1e0::1")
	revSOA := "b.2.4.a.a.7.2.6.0.6.d.f.ip6.arpa."
	cases := []struct {
		title string
		query []byte
		want  string
	}{
		{"agent", ask(t, "main.myws.me.coder", miekg.TypeAAAA, nil),
			"QUERY NOERROR " + okFlags + " | main.myws.me.coder. AAAA | AN[main.myws.me.coder. 2 IN AAAA fd60:627a:a42b:1:2:3:4:5]"},
		{"owner", ask(t, "main.myws.admin.coder", miekg.TypeAAAA, nil),
			"QUERY NOERROR " + okFlags + " | main.myws.admin.coder. AAAA | AN[main.myws.admin.coder. 2 IN AAAA fd60:627a:a42b:1:2:3:4:5]"},
		{"alias", ask(t, "myws.coder", miekg.TypeAAAA, nil),
			"QUERY NOERROR " + okFlags + " | myws.coder. AAAA | AN[myws.coder. 2 IN AAAA fd60:627a:a42b:1:2:3:4:5]"},
		{"sentinel", ask(t, sentinel, miekg.TypeAAAA, nil),
			"QUERY NOERROR " + okFlags + " | is.coder--connect--enabled--right--now.coder. AAAA | AN[is.coder--connect--enabled--right--now.coder. 2 IN AAAA fd60:627a:a42b::53]"},
		{"underscore", ask(t, "main_agent-1.main-workspace.admin.coder", miekg.TypeAAAA, nil),
			"QUERY NOERROR " + okFlags + " | main_agent-1.main-workspace.admin.coder. AAAA | AN[main_agent-1.main-workspace.admin.coder. 2 IN AAAA fd60:627a:a42b:9:8:7:6:5]"},
		{"case is kept", ask(t, "mAIN.mYws.ME.CoDeR", miekg.TypeAAAA, nil),
			"QUERY NOERROR " + okFlags + " | mAIN.mYws.ME.CoDeR. AAAA | AN[mAIN.mYws.ME.CoDeR. 2 IN AAAA fd60:627a:a42b:1:2:3:4:5]"},
		{"rd is copied", ask(t, "myws.coder", miekg.TypeAAAA, func(m *miekg.Msg) { m.RecursionDesired = false }),
			"QUERY NOERROR qr aa ra ad | myws.coder. AAAA | AN[myws.coder. 2 IN AAAA fd60:627a:a42b:1:2:3:4:5]"},
		{"A of a known name", ask(t, "myws.coder", miekg.TypeA, nil), "QUERY NOERROR " + okFlags + " | myws.coder. A | " + coderSOA},
		{"HTTPS of a known name", ask(t, "myws.coder", miekg.TypeHTTPS, nil), "QUERY NOERROR " + okFlags + " | myws.coder. HTTPS | " + coderSOA},
		{"SOA of a known name", ask(t, "myws.coder", miekg.TypeSOA, nil), "QUERY NOERROR " + okFlags + " | myws.coder. SOA | " + coderSOA},
		{"ANY of a known name", ask(t, "myws.coder", miekg.TypeANY, nil),
			"QUERY NOERROR " + okFlags + " | myws.coder. ANY | AN[myws.coder. 2 IN AAAA fd60:627a:a42b:1:2:3:4:5]"},
		{"no alias with two agents", ask(t, "main-workspace.coder", miekg.TypeAAAA, nil), "QUERY NXDOMAIN " + okFlags + " | main-workspace.coder. AAAA | " + coderSOA},
		{"unknown", ask(t, "a.b.c.d.coder", miekg.TypeAAAA, nil), "QUERY NXDOMAIN " + okFlags + " | a.b.c.d.coder. AAAA | " + coderSOA},
		{"unknown A", ask(t, "nobody.coder", miekg.TypeA, nil), "QUERY NXDOMAIN " + okFlags + " | nobody.coder. A | " + coderSOA},
		{"suffix itself", ask(t, "coder", miekg.TypeAAAA, nil), "QUERY NOERROR " + okFlags + " | coder. AAAA | " + coderSOA},
		{"SOA of the suffix", ask(t, "coder", miekg.TypeSOA, nil),
			"QUERY NOERROR " + okFlags + " | coder. SOA | AN[coder. 2 IN SOA coder. hostmaster.coder. 1 3600 600 86400 2]"},
		{"outside", ask(t, "example.com", miekg.TypeAAAA, nil), "QUERY REFUSED " + okFlags + " | example.com. AAAA"},
		{"outside, ends alike", ask(t, "mycoder", miekg.TypeAAAA, nil), "QUERY REFUSED " + okFlags + " | mycoder. AAAA"},
		{"outside, length byte in a label", ask(t, `a\005coder`, miekg.TypeAAAA, nil), "QUERY REFUSED " + okFlags + ` | a\005coder. AAAA`},
		{"root", ask(t, ".", miekg.TypeNS, nil), "QUERY REFUSED " + okFlags + " | . NS"},
		{"onion", ask(t, "abc.onion", miekg.TypeA, nil),
			"QUERY NXDOMAIN " + okFlags + " | abc.onion. A | NS[onion. 2 IN SOA onion. hostmaster.onion. 1 3600 600 86400 2]"},
		{"PTR, shortest name", ask(t, reverse(t, agentAddr), miekg.TypePTR, nil),
			"QUERY NOERROR " + okFlags + " | " + reverse(t, agentAddr) + " PTR | AN[" + reverse(t, agentAddr) + " 2 IN PTR myws.coder.]"},
		{"PTR in capitals", ask(t, strings.ToUpper(reverse(t, agentAddr)), miekg.TypePTR, nil),
			"QUERY NOERROR " + okFlags + " | " + strings.ToUpper(reverse(t, agentAddr)) + " PTR | AN[" + strings.ToUpper(reverse(t, agentAddr)) + " 2 IN PTR myws.coder.]"},
		{"PTR of an unknown address", ask(t, reverse(t, unknown), miekg.TypePTR, nil),
			"QUERY NXDOMAIN " + okFlags + " | " + reverse(t, unknown) + " PTR | NS[" + revSOA + " 2 IN SOA " + revSOA + " hostmaster." + revSOA + " 1 3600 600 86400 2]"},
		{"PTR elsewhere", ask(t, reverse(t, foreign), miekg.TypePTR, nil), "QUERY REFUSED " + okFlags + " | " + reverse(t, foreign) + " PTR"},
		{"PTR of IPv4", ask(t, "1.0.0.127.in-addr.arpa", miekg.TypePTR, nil), "QUERY REFUSED " + okFlags + " | 1.0.0.127.in-addr.arpa. PTR"},
		{"PTR, not hexadecimal", ask(t, "g"+reverse(t, agentAddr)[1:], miekg.TypePTR, nil), "QUERY REFUSED " + okFlags + " | g" + reverse(t, agentAddr)[1:] + " PTR"},
		{"PTR of a known name", ask(t, "myws.coder", miekg.TypePTR, nil), "QUERY NOERROR " + okFlags + " | myws.coder. PTR | " + coderSOA},
		{"EDNS", ask(t, "myws.coder", miekg.TypeA, edns(0, false)), "QUERY NOERROR " + okFlags + " | myws.coder. A | " + coderSOA + " OPT[v0 udp 1232 do false]"},
		{"EDNS with DO", ask(t, "myws.coder", miekg.TypeA, edns(0, true)), "QUERY NOERROR " + okFlags + " | myws.coder. A | " + coderSOA + " OPT[v0 udp 1232 do true]"},
		{"EDNS outside", ask(t, "example.com", miekg.TypeA, edns(0, false)), "QUERY REFUSED " + okFlags + " | example.com. A | OPT[v0 udp 1232 do false]"},
		{"EDNS version 1", ask(t, "myws.coder", miekg.TypeAAAA, edns(1, false)), "QUERY BADVERS " + okFlags + " | myws.coder. AAAA | OPT[v0 udp 1232 do false]"},
		{"EDNS with a cookie", ask(t, "myws.coder", miekg.TypeA, func(m *miekg.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []miekg.EDNS0{&miekg.EDNS0_COOKIE{Code: miekg.EDNS0COOKIE, Cookie: "24a5ac1122334455"}}
		}), "QUERY NOERROR " + okFlags + " | myws.coder. A | " + coderSOA + " OPT[v0 udp 1232 do false]"},
		{"class CH", ask(t, "version.bind", miekg.TypeTXT, func(m *miekg.Msg) { m.Question[0].Qclass = miekg.ClassCHAOS }), "QUERY REFUSED " + okFlags + " | version.bind. TXT"},
		{"class ANY", ask(t, "myws.coder", miekg.TypeAAAA, func(m *miekg.Msg) { m.Question[0].Qclass = miekg.ClassANY }), "QUERY REFUSED " + okFlags + " | myws.coder. AAAA"},
		{"NOTIFY", ask(t, "myws.coder", miekg.TypeSOA, func(m *miekg.Msg) { m.Opcode = miekg.OpcodeNotify }), "NOTIFY NOTIMP " + okFlags + " | myws.coder. SOA"},
		{"status", ask(t, "myws.coder", miekg.TypeSOA, func(m *miekg.Msg) { m.Opcode = miekg.OpcodeStatus }), "STATUS NOTIMP " + okFlags + " | myws.coder. SOA"},
		{"a response", ask(t, "myws.coder", miekg.TypeAAAA, func(m *miekg.Msg) { m.Response = true }), "silence"},
	}
	r := published()
	for _, c := range cases {
		t.Run(c.title, func(t *testing.T) {
			for _, limit := range []int{0, ednsSize} {
				got := r.Answer([]byte("before"), c.query, limit)
				if string(got[:6]) != "before" {
					t.Fatal("answer overwrote what stood before it")
				}
				if got := text(t, got[6:]); got != c.want {
					t.Errorf("limit %d\n got %s\nwant %s", limit, got, c.want)
				}
				if len(got) > 6 && (got[6] != 0xbe || got[7] != 0xef) {
					t.Errorf("id %x", got[6:8])
				}
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	good := ask(t, "myws.coder", miekg.TypeAAAA, edns(0, false))
	header := "\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	edit := func(change func([]byte)) string {
		wire := append([]byte(nil), good...)
		change(wire)
		return string(wire)
	}
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 4)
	const noQuestion = "QUERY FORMERR qr aa rd ra ad | -"
	const withQuestion = "QUERY FORMERR qr aa rd ra ad | myws.coder. AAAA"
	cases := []struct{ title, query, want string }{
		{"empty", "", "silence"},
		{"half an id", "\xbe", "silence"},
		{"an id", "\xbe\xef", "QUERY FORMERR qr aa ra ad | -"},
		{"id and flags", "\xbe\xef\x01", noQuestion},
		{"start of a response", "\xbe\xef\x81", "silence"},
		{"header only", header, noQuestion},
		{"no question", "\xbe\xef\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", noQuestion},
		{"two questions", edit(func(b []byte) { b[5] = 2 }), noQuestion},
		{"pointer in the question", header + "\xc0\x0c\x00\x1c\x00\x01", noQuestion},
		{"pointer after a label", header + "\x04myws\xc0\x0c\x00\x1c\x00\x01", noQuestion},
		{"reserved label type", header + "\x40\x00\x00\x1c\x00\x01", noQuestion},
		{"name too long", header + long + "\x00\x00\x1c\x00\x01", noQuestion},
		{"label beyond the end", header + "\x3fabc", noQuestion},
		{"no class", header + "\x04myws\x05coder\x00\x00\x1c", noQuestion},
		{"missing record", edit(func(b []byte) { b[7] = 1 }), withQuestion},
		{"missing OPT", string(good[:len(good)-11]), withQuestion},
		{"cut OPT", string(good[:len(good)-1]), withQuestion},
		{"trailing bytes", string(good) + "x", withQuestion + " | OPT[v0 udp 1232 do false]"},
		{"two OPT", edit(func(b []byte) { b[11] = 2 }) + string(good[len(good)-11:]), withQuestion + " | OPT[v0 udp 1232 do false]"},
		{"OPT with a name", edit(func(b []byte) { b[11] = 1 })[:len(good)-11] + "\x01a\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00", withQuestion},
		{"OPT as an answer", edit(func(b []byte) { b[7], b[11] = 1, 0 }), withQuestion},
		{"OPT with a broken option", string(good[:len(good)-2]) + "\x00\x03\x00\x0a\x00", withQuestion},
		{"OPT with a long option", string(good[:len(good)-2]) + "\x00\x05\x00\x0a\x00\x09x", withQuestion},
		{"malformed, other opcode", "\xbe\xef\x28\x00", "UPDATE NOTIMP qr aa ra ad | -"},
	}
	r := published()
	for _, c := range cases {
		if got := text(t, r.Answer(nil, []byte(c.query), ednsSize)); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.title, got, c.want)
		}
	}
}

func TestLongestNames(t *testing.T) {
	label := strings.Repeat("x", 63)
	name := strings.Join([]string{label, label, label, strings.Repeat("y", 55)}, ".") + ".coder" // 255 in wire form
	if len(name)+2 != maxName {
		t.Fatalf("the name has %d bytes", len(name)+2)
	}
	r := New(nil)
	r.Publish(NewTable([]string{"coder"}, 1, maps.All(map[string]netip.Addr{name: agentAddr}), []netip.Prefix{servicePrefix}))
	for _, q := range []struct {
		name  string
		qtype uint16
	}{{name, miekg.TypeAAAA}, {name, miekg.TypeA}, {reverse(t, agentAddr), miekg.TypePTR}} {
		wire := r.Answer(nil, ask(t, q.name, q.qtype, edns(0, false)), ednsSize)
		if got := text(t, wire); !strings.HasPrefix(got, "QUERY NOERROR qr aa rd ra ad") {
			t.Errorf("%s: %s", q.name, got)
		}
		if len(wire) > plainSize {
			t.Errorf("an answer has %d bytes: no answer of ours may need EDNS", len(wire))
		}
	}
}

func TestTruncation(t *testing.T) {
	r := published()
	query := ask(t, "myws.coder", miekg.TypeAAAA, edns(0, false))
	whole := len(r.Answer(nil, query, 0))
	for limit := 1; limit <= whole; limit++ {
		wire := r.Answer(nil, query, limit)
		if limit < headerLen {
			continue // nothing can be said in so little
		}
		if len(wire) > limit {
			t.Fatalf("limit %d: %d bytes", limit, len(wire))
		}
		if got := text(t, wire); strings.Contains(got, " tc ") != (limit < whole) {
			t.Errorf("limit %d of %d: %s", limit, whole, got)
		}
	}
	want := "QUERY NOERROR qr aa tc rd ra ad | myws.coder. AAAA | OPT[v0 udp 1232 do false]"
	if got := text(t, r.Answer(nil, query, whole-1)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestBeforeTheFirstPublish(t *testing.T) {
	r := New([]string{"coder"})
	check := func(name, rcode string) {
		t.Helper()
		if got := text(t, r.Answer(nil, ask(t, name, miekg.TypeAAAA, nil), 0)); !strings.Contains(got, " "+rcode+" ") {
			t.Errorf("%s: %s, want %s", name, got, rcode)
		}
	}
	check("myws.coder", "SERVFAIL")
	check("coder", "SERVFAIL")
	check("example.com", "REFUSED")
	check("x.onion", "NXDOMAIN")
	check(reverse(t, agentAddr), "REFUSED")
	r.SetSuffixes([]string{"corp.example"})
	check("myws.coder", "REFUSED")
	check("myws.corp.example", "SERVFAIL")
	r.Publish(NewTable([]string{"coder"}, 8, maps.All(testHosts()), nil))
	check("myws.coder", "NOERROR")
	check("nobody.coder", "NXDOMAIN")
	check("myws.corp.example", "SERVFAIL")
	r.Publish(nil)
	check("myws.corp.example", "SERVFAIL")
	check("myws.coder", "REFUSED")
}
