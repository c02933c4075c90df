package tunnel

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/dns"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

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
	if err := proto.Unmarshal(wire, &update); err != nil {
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
	wire, err := proto.Marshal(update)
	if err != nil {
		tb.Fatal(err)
	}
	return wire
}

// cpu is the time that the process has spent on the processors: on a busy
// machine the clock tells more of the others.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// reportCPU adds the processor time of one round, the collector's included.
func reportCPU(b *testing.B, began time.Duration) {
	b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkSnapshot10k is the first snapshot of 10,000 agents, from its bytes
// to the resolver's table and the wanted host state: at most 50 ms of CPU.
func BenchmarkSnapshot10k(b *testing.B) {
	wire := manyAgents(b, 10_000)
	began := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		newWay(b).pass(b, wire, true)
	}
	reportCPU(b, began)
}

// BenchmarkOneChange is one renamed agent among n on the same way: at most
// 100 µs and 16 KB, and with 10,000 at most twice what it is with 100.
func BenchmarkOneChange(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWay(b)
			w.pass(b, manyAgents(b, n), true)
			changes := make([][]byte, 64)
			for i := range changes {
				changes[i] = wireOf(b, &tailnetv2.WorkspaceUpdate{UpsertedAgents: []*tailnetv2.Agent{
					message(fmt.Sprint("main", i), fmt.Sprint("name", i), fmt.Sprint("ws", i)),
				}})
				if i%2 == 1 { // the next round changes it back
					changes[i] = wireOf(b, &tailnetv2.WorkspaceUpdate{UpsertedAgents: []*tailnetv2.Agent{
						message(fmt.Sprint("main", i-1), fmt.Sprint("main", i-1), fmt.Sprint("ws", i-1)),
					}})
				}
			}
			began := cpu(b)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				w.pass(b, changes[i%len(changes)], false)
			}
			reportCPU(b, began)
		})
	}
}
