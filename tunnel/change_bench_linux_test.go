package tunnel

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

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

// renamedAgents is manyAgents, but one agent in a hundred has another name; none
// of those that are asked for.
func renamedAgents(tb testing.TB, n int) []byte {
	tb.Helper()
	update := &tailnetv2.WorkspaceUpdate{}
	for i := range n {
		one := snapshot(fmt.Sprint("main", i), fmt.Sprint("ws", i))
		if i%100 == 99 {
			one.UpsertedAgents[0].Name = "renamed"
		}
		update.UpsertedWorkspaces = append(update.UpsertedWorkspaces, one.UpsertedWorkspaces...)
		update.UpsertedAgents = append(update.UpsertedAgents, one.UpsertedAgents...)
	}
	return wireOf(tb, update)
}

// BenchmarkSnapshotAgain10k is a snapshot that says what is known already, as
// each new connection does.
func BenchmarkSnapshotAgain10k(b *testing.B) {
	wire := manyAgents(b, 10_000)
	w := newWay(b)
	w.pass(b, wire, true)
	began := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		w.pass(b, wire, true)
	}
	reportCPU(b, began)
}
