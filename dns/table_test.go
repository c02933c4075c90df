package dns

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"

	miekg "github.com/miekg/dns"
)

// hostsOf are the names of n workspaces with one agent each.
func hostsOf(n int) map[string]netip.Addr {
	hosts := make(map[string]netip.Addr, 3*n+1)
	for i := range n {
		addr := addrOf(i)
		hosts[fmt.Sprintf("main.ws%d.me.coder", i)] = addr
		hosts[fmt.Sprintf("main.ws%d.admin.coder", i)] = addr
		hosts[fmt.Sprintf("ws%d.coder", i)] = addr
	}
	hosts[sentinel] = serviceAddr
	return hosts
}

func addrOf(i int) netip.Addr {
	addr := servicePrefix.Addr().As16()
	addr[6], addr[13], addr[14], addr[15] = 1, byte(i>>16), byte(i>>8), byte(i)
	return netip.AddrFrom16(addr)
}

func TestTableLeavesOutWhatItCannotAnswer(t *testing.T) {
	table := NewTable([]string{"Coder.", "", "..", ".corp.example"}, 8, maps.All(map[string]netip.Addr{
		"Upper.CODER.":                      agentAddr,
		"upper.coder":                       otherAddr,
		"a.corp.example":                    agentAddr,
		"outside.example":                   agentAddr,
		"a..coder":                          agentAddr,
		strings.Repeat("x", 64) + ".coder":  agentAddr,
		strings.Repeat("x.", 130) + "coder": agentAddr,
		"":                                  agentAddr,
		"v4.coder":                          netip.MustParseAddr("192.0.2.1"),
		"mapped.coder":                      netip.MustParseAddr("::ffff:192.0.2.1"),
		"zone.coder":                        netip.MustParseAddr("fe80::1%eth0"),
		"zero.coder":                        {},
	}), []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/8")})
	if table.Len() != 2 {
		t.Errorf("%d names, want 2", table.Len())
	}
	for name, want := range map[string]netip.Addr{"upper.coder": agentAddr, "UPPER.coder.": agentAddr, "a.corp.example": agentAddr} {
		if got, ok := table.Lookup(name); !ok || got != want {
			t.Errorf("%s: %v %t", name, got, ok)
		}
	}
}

// TestWithEqualsNewTable walks through random changes and compares each table
// with a model, all names and all reverse names.
func TestWithEqualsNewTable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	model := map[string]netip.Addr{}
	table := NewTable([]string{"coder"}, len(model), maps.All(model), []netip.Prefix{servicePrefix})
	for range 300 {
		before, beforeTable := maps.Clone(model), table
		for range random.IntN(8) {
			name := fmt.Sprintf("w%d.coder", random.IntN(60))
			if random.IntN(3) == 0 {
				delete(model, name)
			} else {
				model[name] = addrOf(random.IntN(20))
			}
		}
		table = table.With(Changes(before, model))
		equal(t, table, model)
		equal(t, beforeTable, before)
	}
}

func equal(t *testing.T, table *Table, model map[string]netip.Addr) {
	t.Helper()
	if table.Len() != len(model) {
		t.Fatalf("%d names, want %d", table.Len(), len(model))
	}
	shortest := map[netip.Addr]string{}
	for name, addr := range model {
		if best := shortest[addr]; best == "" || len(name) < len(best) || len(name) == len(best) && name < best {
			shortest[addr] = name
		}
	}
	for i := range 60 {
		name := fmt.Sprintf("w%d.coder", i)
		if got, _ := table.Lookup(name); got != model[name] {
			t.Fatalf("%s: %v, want %v", name, got, model[name])
		}
	}
	for i := range 20 {
		raw := addrOf(i).As16()
		wire, ok := table.addrs.shortest(&raw)
		want, _ := appendWire(nil, shortest[addrOf(i)])
		if ok != (len(want) > 0) || wire != string(want) {
			t.Fatalf("PTR %v: %q %t, want %q", addrOf(i), wire, ok, want)
		}
	}
}

// TestNeverNXDOMAINForANameInBothTables publishes while others ask: names that
// are in every table must always be answered, whatever else comes and goes.
func TestNeverNXDOMAINForANameInBothTables(t *testing.T) {
	r := New([]string{"coder"})
	hosts := hostsOf(200)
	table := NewTable([]string{"coder"}, len(hosts), maps.All(hosts), []netip.Prefix{servicePrefix})
	r.Publish(table)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for worker := range 4 {
		query := ask(t, fmt.Sprintf("main.ws%d.me.coder", worker), miekg.TypeAAAA, nil)
		asking.Go(func() {
			buffer := make([]byte, 0, 1500)
			for {
				select {
				case <-stop:
					return
				default:
				}
				wire := r.Answer(buffer, query, ednsSize)
				if wire[3]&15 != rcodeOK || wire[7] != 1 {
					t.Errorf("answer %x", wire)
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 2000 {
		if i%20 == 0 {
			table = NewTable([]string{"coder"}, len(hosts), maps.All(hosts), []netip.Prefix{servicePrefix})
		} else {
			// The four names keep being there, with other addresses too.
			table = table.With([]Change{
				{Name: fmt.Sprintf("ws%d.coder", 10+random.IntN(100)), Addr: addrOf(random.IntN(200))},
				{Name: fmt.Sprintf("main.ws%d.me.coder", random.IntN(4)), Addr: addrOf(random.IntN(200))},
				{Name: fmt.Sprintf("main.ws%d.me.coder", 10+random.IntN(100))},
			})
		}
		r.Publish(table)
	}
	close(stop)
	asking.Wait()
}

func TestNoAllocations(t *testing.T) {
	r := published()
	buffer := make([]byte, 0, 2048)
	for title, query := range map[string][]byte{
		"hit":     ask(t, "main.myws.me.coder", miekg.TypeAAAA, edns(0, false)),
		"empty":   ask(t, "main.myws.me.coder", miekg.TypeA, nil),
		"miss":    ask(t, "nobody.coder", miekg.TypeAAAA, nil),
		"outside": ask(t, "example.com", miekg.TypeAAAA, nil),
		"PTR":     ask(t, reverse(t, agentAddr), miekg.TypePTR, nil),
		"garbage": []byte("\xbe\xef\x01\x00\x00\x01"),
	} {
		packet := udpPacket(query)
		if n := testing.AllocsPerRun(200, func() { r.Answer(buffer, query, ednsSize) }); n != 0 {
			t.Errorf("%s: %v allocations per message", title, n)
		}
		if n := testing.AllocsPerRun(200, func() { r.AnswerPacket(buffer, packet) }); n != 0 {
			t.Errorf("%s: %v allocations per packet", title, n)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		r := New(nil)
		r.Publish(NewTable([]string{"coder"}, size, maps.All(hostsOf(size)), []netip.Prefix{servicePrefix}))
		for _, c := range []struct{ title, name string }{{"hit", "main.ws%d.me.coder"}, {"miss", "main.no%d.me.coder"}} {
			queries := make([][]byte, 64)
			for i := range queries {
				queries[i] = ask(b, fmt.Sprintf(c.name, i*size/len(queries)), miekg.TypeAAAA, edns(0, false))
			}
			b.Run(fmt.Sprintf("%s/%d", c.title, size), func(b *testing.B) {
				buffer := make([]byte, 0, 2048)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					r.Answer(buffer, queries[i%len(queries)], ednsSize)
				}
			})
			b.Run(fmt.Sprintf("packet-%s/%d", c.title, size), func(b *testing.B) {
				buffer := make([]byte, 0, 2048)
				packet := udpPacket(queries[1])
				b.ReportAllocs()
				for b.Loop() {
					r.AnswerPacket(buffer, packet)
				}
			})
		}
	}
}

func BenchmarkTable(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		hosts := hostsOf(size)
		table := NewTable([]string{"coder"}, len(hosts), maps.All(hosts), []netip.Prefix{servicePrefix})
		b.Run(fmt.Sprintf("new/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NewTable([]string{"coder"}, len(hosts), maps.All(hosts), []netip.Prefix{servicePrefix})
			}
		})
		b.Run(fmt.Sprintf("one-agent/%d", size), func(b *testing.B) {
			addr := addrOf(size / 2)
			changes := []Change{
				{Name: fmt.Sprintf("main.ws%d.me.coder", size/2), Addr: addr},
				{Name: fmt.Sprintf("main.ws%d.admin.coder", size/2), Addr: addr},
				{Name: fmt.Sprintf("ws%d.coder", size/2), Addr: addr},
			}
			b.ReportAllocs()
			for b.Loop() {
				table.With(changes)
			}
		})
		b.Run(fmt.Sprintf("one-name/%d", size), func(b *testing.B) {
			changes := []Change{{Name: "new.coder", Addr: agentAddr}}
			b.ReportAllocs()
			for b.Loop() {
				table.With(changes)
			}
		})
	}
}
