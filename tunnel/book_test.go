package tunnel

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/dns/dnsmessage"
	pb "google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/dns"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

// watched is the real resolver, and looks at each table that it publishes.
type watched struct {
	*resolver
	look func(*dns.Table)
}

func (w watched) replace(suffix string, size int, names iter.Seq2[string, netip.Addr]) {
	w.resolver.replace(suffix, size, names)
	w.look(w.dns.Table())
}

func (w watched) change(names []workspace.NameChange) {
	w.resolver.change(names)
	w.look(w.dns.Table())
}

// anyMessage is a message of few workspaces and agents, whose names collide.
func anyMessage(random *rand.Rand, state *workspace.State) *tailnetv2.WorkspaceUpdate {
	message := &tailnetv2.WorkspaceUpdate{}
	workspaces := []string{"one", "ONE", "two", "Two", "not a label", "me"}
	for i := range 5 {
		id := idOf(fmt.Sprint("w", i))
		if random.IntN(2) == 0 {
			message.UpsertedWorkspaces = append(message.UpsertedWorkspaces, &tailnetv2.Workspace{Id: id[:], Name: workspaces[random.IntN(len(workspaces))]})
		}
	}
	for _, w := range message.GetUpsertedWorkspaces() {
		for range random.IntN(3) {
			id := idOf(fmt.Sprint("a", random.IntN(8)))
			message.UpsertedAgents = append(message.UpsertedAgents,
				&tailnetv2.Agent{Id: id[:], WorkspaceId: w.GetId(), Name: []string{"main", "Main", "dev", "a b"}[random.IntN(4)]})
		}
	}
	for _, agent := range state.Agents() {
		if random.IntN(10) == 0 {
			message.DeletedAgents = append(message.DeletedAgents, &tailnetv2.Agent{Id: agent.ID[:]})
		}
	}
	return message
}

// TestPublishedNamesAgainstScratch walks through random messages, connections,
// users and suffixes. What is published is always what would be made from
// nothing, and a name that stays alive is in each table on the way.
func TestPublishedNamesAgainstScratch(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CAUSEWAY_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with CAUSEWAY_SEED=%d", seed)
		}
	})
	random := rand.New(rand.NewPCG(seed, 1))
	for range 20 {
		w := newWay(t)
		tunnel := w.s.tunnel
		real := tunnel.live.answers.(*resolver)
		old := map[string]netip.Addr{}
		tunnel.live.answers = watched{real, func(table *dns.Table) {
			next := maps.Collect(tunnel.saved.Workspaces.Names(tunnel.saved.User.Username, tunnel.saved.Suffix))
			for name := range old {
				if got, found := table.Lookup(name); next[name].IsValid() && (!found || got != old[name] && got != next[name]) {
					t.Errorf("%s is %v on the way from %v to %v", name, got, old[name], next[name])
				}
			}
		}}
		var hosts *netcfg.Hosts
		for step := range 40 {
			message, first := anyMessage(random, w.state), step == 0 || random.IntN(8) == 0
			if first {
				message.DeletedAgents = nil
			}
			w.pass(t, wireOf(t, message), first)
			if random.IntN(12) == 0 {
				tunnel.mu.Lock()
				tunnel.saved.User.Username = []string{"alice", "Bob", "not a label"}[random.IntN(3)]
				tunnel.saved.Suffix = []string{"coder", "Dev.example"}[random.IntN(2)]
				tunnel.publish()
				tunnel.mu.Unlock()
			}
			names := checkPublished(t, w)
			if same := w.s.wanted().DNS.Hosts == hosts; same && !maps.Equal(names, old) {
				t.Error("the host is not told of other names")
			}
			old, hosts = names, w.s.wanted().DNS.Hosts
			if t.Failed() {
				return
			}
		}
	}
}

// checkPublished compares the resolver, the book and the problems with what is
// made from nothing, and returns the names.
func checkPublished(t *testing.T, w *way) map[string]netip.Addr {
	t.Helper()
	tunnel, state := w.s.tunnel, w.state
	names, leftOut := maps.Collect(state.Names(tunnel.saved.User.Username, tunnel.saved.Suffix)), state.AllLeftOut(tunnel.saved.User.Username, tunnel.saved.Suffix)
	answers, b := tunnel.live.answers.(watched), tunnel.live.book
	if answers.dns.Table().Len() != len(names) {
		t.Errorf("%d names, want %d", answers.dns.Table().Len(), len(names))
	}
	for name, addr := range names {
		if got, found := answers.dns.Table().Lookup(name); !found || got != addr {
			t.Errorf("%s is %v, want %v", name, got, addr)
		}
		short := strings.TrimSuffix(name, "."+strings.ToLower(tunnel.saved.Suffix))
		for _, asked := range []string{strings.ToUpper(name) + ".", short, "[" + addr.String() + "]"} {
			if found, err := b.resolve(asked); (err != nil || found.addr != addr) && addr != proto.DNSAddr {
				t.Errorf("%s is found to be %v, %v", asked, found, err)
			}
		}
	}
	list, err := w.s.wanted().DNS.Hosts.List()
	if err != nil || len(list) != len(names) || !slices.IsSortedFunc(list, func(a, b netcfg.Host) int { return cmp.Compare(a.Name, b.Name) }) {
		t.Errorf("hosts %v, %v", list, err)
	}
	for _, host := range list {
		if names[host.Name] != host.Addr {
			t.Errorf("host %v", host)
		}
	}
	if !maps.EqualFunc(tunnel.live.leftOut, leftOut, sameError) || len(tunnel.facts.leftOut) != len(leftOut) {
		t.Errorf("left out %v, %v, want %v", tunnel.live.leftOut, tunnel.facts.leftOut, leftOut)
	}
	return names
}

func TestResolveWhatDNSCannotName(t *testing.T) {
	w := newWay(t)
	message := snapshot("not a label", "myws")
	message.UpsertedAgents = append(message.UpsertedAgents, snapshot("main", "myws").UpsertedAgents...)
	w.pass(t, wireOf(t, message), true)
	b := w.s.tunnel.live.book
	if found, err := b.resolve("Not a Label.myws"); err != nil || found.agent != idOf("not a label") || found.name != "" {
		t.Errorf("found %v, %v", found, err)
	}
	if found, err := b.resolve("main.myws"); err != nil || found.agent != idOf("main") || found.name != "main.myws.me.coder" {
		t.Errorf("found %v, %v", found, err)
	}
	for _, unknown := range []string{"", ".", "myws", "nobody.myws", "fd60:627a:a42b::1", "main.myws.you", workspace.Sentinel} {
		if found, err := b.resolve(unknown); err == nil {
			t.Errorf("%q is found to be %v", unknown, found)
		}
	}
}

func packedQuestion(tb testing.TB, name string) []byte {
	tb.Helper()
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET},
	}}
	message, err := query.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return message
}

// answered is the code of an answer and the number of its records.
func answered(answer []byte) (rcode, records int) {
	return int(answer[3] & 15), int(binary.BigEndian.Uint16(answer[6:]))
}

// TestNamesWhileTablesChange asks at full speed while tables change at full
// speed, by differences, snapshots, and from nothing. Before the first snapshot
// the answer is SERVFAIL, and from then on a name that is there all the time is
// always answered.
func TestNamesWhileTablesChange(t *testing.T) {
	w := newWay(t)
	tunnel := w.s.tunnel
	answers := tunnel.live.answers
	stable := packedQuestion(t, "main7.ws7.me.coder.")
	if rcode, _ := answered(answers.query(stable)); rcode != int(dnsmessage.RCodeServerFailure) {
		t.Fatalf("before the first snapshot the code is %d", rcode)
	}
	full := manyAgents(t, 50)
	w.pass(t, full, true)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			for asked := 0; ; asked++ {
				select {
				case <-stop:
					if asked == 0 {
						t.Error("nothing was asked")
					}
					return
				default:
				}
				if rcode, records := answered(answers.query(stable)); rcode != 0 || records != 1 {
					t.Errorf("code %d, %d records", rcode, records)
					return
				}
			}
		})
	}
	fewer, renamed := manyAgents(t, 8), snapshot("main7", "ws7")
	renamed.UpsertedWorkspaces[0].Status = tailnetv2.Workspace_STOPPED
	for i := range 300 {
		switch i % 4 {
		case 0:
			w.pass(t, fewer, true)
		case 1:
			w.pass(t, full, true)
		case 2:
			w.pass(t, wireOf(t, renamed), false)
		case 3:
			tunnel.mu.Lock()
			tunnel.saved.User.Username = fmt.Sprint("user", i)
			tunnel.publish()
			tunnel.mu.Unlock()
		}
	}
	close(stop)
	asking.Wait()
}

// way is everything that a message of the control plane passes on its way to
// the resolver and to the wanted host state, without the network.
type way struct {
	s            *session
	state        *workspace.State
	destinations *control.Destinations
}

func newWay(tb testing.TB) *way {
	tb.Helper()
	t := New(Config{Logger: slog.New(slog.DiscardHandler), Profile: profile(), StateDir: tb.TempDir(), OS: &host{}})
	t.saved = fresh(profile())
	t.saved.User.Username, t.saved.Suffix = "alice", "coder"
	t.live = &live{answers: &resolver{dns: dns.New([]string{"coder"})}, pings: map[uuid.UUID]pong{}}
	s := &session{tunnel: t, device: "fake0", host: make(chan struct{}, 1), dirty: make(chan struct{}, 1)}
	return &way{s: s, state: &workspace.State{}, destinations: control.NewDestinations()}
}

func (w *way) pass(tb testing.TB, wire []byte, first bool) {
	var update tailnetv2.WorkspaceUpdate
	if err := pb.Unmarshal(wire, &update); err != nil {
		tb.Fatal(err)
	}
	state, diff, err := w.state.Apply(&update, first)
	if err != nil {
		tb.Fatal(err)
	}
	w.state = state
	if first {
		w.destinations.Sync(state.AgentIDs())
	} else {
		for _, agent := range diff.UpsertedAgents {
			w.destinations.Add(agent.ID)
		}
		for _, agent := range diff.DeletedAgents {
			w.destinations.Remove(agent.ID)
		}
	}
	if err := w.s.workspaces(state, diff); err != nil {
		tb.Fatal(err)
	}
	if config := w.s.wanted(); config.Interface == "" {
		tb.Fatal("nothing is wanted of the host")
	}
}

// manyAgents is a snapshot of n workspaces with one agent each.
func manyAgents(tb testing.TB, n int) []byte {
	tb.Helper()
	update := &tailnetv2.WorkspaceUpdate{}
	for i := range n {
		one := snapshot(fmt.Sprint("main", i), fmt.Sprint("ws", i))
		update.UpsertedWorkspaces = append(update.UpsertedWorkspaces, one.UpsertedWorkspaces...)
		update.UpsertedAgents = append(update.UpsertedAgents, one.UpsertedAgents...)
	}
	return wireOf(tb, update)
}

func wireOf(tb testing.TB, update *tailnetv2.WorkspaceUpdate) []byte {
	tb.Helper()
	wire, err := pb.Marshal(update)
	if err != nil {
		tb.Fatal(err)
	}
	return wire
}
