package tunnel

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	questionRate = 5000 // a second
	snapshotRate = 10
	measureFor   = 2 * time.Second
)

// latencies asks at a fixed rate, whether or not answers come in time, and
// measures each from the moment at which it was due: a stall counts for all
// that fall into it. It has a thread of its own, whose sleep is finer than that
// of the runtime's timers.
func latencies(tb testing.TB, answers answers, names int) []time.Duration {
	tb.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	messages := make([][]byte, 64)
	for i := range messages {
		messages[i] = packedQuestion(tb, fmt.Sprintf("main%[1]d.ws%[1]d.me.coder.", i*names/len(messages)))
	}
	list := make([]time.Duration, 0, int(measureFor.Seconds()*questionRate))
	began := time.Now()
	for i := range cap(list) {
		due := time.Duration(i) * time.Second / questionRate
		if wait := due - time.Since(began); wait > 0 {
			pause := syscall.NsecToTimespec(int64(wait))
			_ = syscall.Nanosleep(&pause, nil) // woken early is no harm
		}
		rcode, records := answered(answers.query(messages[i%len(messages)]))
		list = append(list, time.Since(began)-due)
		if rcode != 0 || records != 1 {
			tb.Fatalf("code %d, %d records", rcode, records)
		}
	}
	slices.Sort(list)
	return list
}

// BenchmarkAnswersWhileSnapshots is how late answers are while a snapshot of
// 10,000 agents, of whom one in a hundred has another name each time, lands ten
// times a second, beside how late they are in quiet. One round is one pair of
// both; the figures are medians over the rounds. No name may be missing. The
// p99 of a quiet machine may grow by a quarter, the p99.9 to the double.
func BenchmarkAnswersWhileSnapshots(b *testing.B) {
	const agents = 10_000
	w := newWay(b)
	wires := [][]byte{manyAgents(b, agents), renamedAgents(b, agents)}
	w.pass(b, wires[0], true)
	answers := w.s.tunnel.live.answers
	figures := map[string][]float64{}
	note := func(name string, list []time.Duration) (p99, p999 float64) {
		p99, p999 = list[len(list)*99/100].Seconds()*1e6, list[len(list)*999/1000].Seconds()*1e6
		figures["p99-"+name+"-µs"] = append(figures["p99-"+name+"-µs"], p99)
		figures["p99.9-"+name+"-µs"] = append(figures["p99.9-"+name+"-µs"], p999)
		return p99, p999
	}
	for b.Loop() {
		quiet99, quiet999 := note("quiet", latencies(b, answers, agents))
		stop := make(chan struct{})
		var landing sync.WaitGroup
		landing.Go(func() {
			ticker := time.NewTicker(time.Second / snapshotRate)
			defer ticker.Stop()
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				case <-ticker.C:
					w.pass(b, wires[i%2], true)
				}
			}
		})
		busy99, busy999 := note("busy", latencies(b, answers, agents))
		close(stop)
		landing.Wait()
		figures["p99-ratio"] = append(figures["p99-ratio"], busy99/quiet99)
		figures["p99.9-ratio"] = append(figures["p99.9-ratio"], busy999/quiet999)
	}
	for unit, list := range figures {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], unit)
	}
}
