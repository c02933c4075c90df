package stats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("tailscale.com/net/netmon.(*nlConn).Receive"))
}

// world is a reporter with its workspace, which receives a packet of 100 bytes
// each second, and its control plane. It is used in bubbles.
type world struct {
	*Reporter
	t     *testing.T
	began time.Time
	taken time.Time

	mu       sync.Mutex
	interval time.Duration
	// lose are the reports, by their number from 1, whose answer gets lost.
	lose     []int
	failures []error
	block    bool
	calls    int
	empty    int
	reports  []*agentv2.Stats
	at       []time.Duration
}

func newWorld(t *testing.T, interval time.Duration) *world {
	w := &world{t: t, interval: interval, began: time.Now(), taken: time.Now()}
	w.Reporter = New(Config{
		Logger:  slog.New(slog.DiscardHandler),
		Traffic: w.traffic,
		Latencies: func(ctx context.Context) []time.Duration {
			if limit, ok := ctx.Deadline(); !ok || time.Until(limit) != 5*time.Second {
				t.Error("pings have another limit")
			}
			return nil
		},
		Sessions: func() map[agentv2.Connection_Type]int64 { return nil },
	})
	return w
}

func (w *world) traffic() userspace.Traffic {
	count := int64(time.Since(w.taken) / time.Second)
	w.taken = w.taken.Add(time.Duration(count) * time.Second)
	result := userspace.Traffic{RxPackets: count, RxBytes: 100 * count, Flows: map[string]int64{}}
	if count > 0 {
		result.Flows["TCP"] = 1
	}
	return result
}

func (w *world) UpdateStats(ctx context.Context, in *agentv2.UpdateStatsRequest) (*agentv2.UpdateStatsResponse, error) {
	w.mu.Lock()
	w.calls++
	block := w.block
	var err error
	if len(w.failures) > 0 {
		err, w.failures = w.failures[0], w.failures[1:]
	}
	w.mu.Unlock()
	if block {
		<-ctx.Done()
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if in.GetStats() == nil {
		w.empty++
		return &agentv2.UpdateStatsResponse{ReportInterval: durationpb.New(w.interval)}, nil
	}
	w.reports = append(w.reports, proto.CloneOf(in.GetStats()))
	w.at = append(w.at, time.Since(w.began))
	if slices.Contains(w.lose, len(w.reports)) {
		return nil, errors.New("connection reset")
	}
	return &agentv2.UpdateStatsResponse{ReportInterval: durationpb.New(w.interval)}, nil
}

// live runs over one connection for a while.
func (w *world) live(while time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	time.AfterFunc(while, cancel)
	if err := w.Run(ctx, w); err != nil {
		w.t.Error(err)
	}
	<-ctx.Done()
}

// once are the reports without those that came again, by their numbers.
func (w *world) once() []*agentv2.Stats {
	var result []*agentv2.Stats
	known := map[string]*agentv2.Stats{}
	for _, each := range w.reports {
		metric := each.GetMetrics()[0]
		if metric.GetName() != MetricReport || metric.GetType() != agentv2.Stats_Metric_COUNTER || len(metric.GetLabels()) != 1 {
			w.t.Fatalf("the number is %v", metric)
		}
		key := fmt.Sprint(metric.GetValue(), metric.GetLabels()[0].GetValue())
		before := known[key]
		if before == nil {
			known[key] = each
			result = append(result, each)
		} else if !proto.Equal(before, each) {
			w.t.Errorf("a report came again as another one: %v, then %v", before, each)
		}
	}
	return result
}

// bytes is how much was told of in all.
func (w *world) bytes() (sum int64) {
	for _, each := range w.once() {
		sum += each.GetRxBytes()
	}
	return sum
}

func seconds(numbers ...int) []time.Duration {
	var result []time.Duration
	for _, n := range numbers {
		result = append(result, time.Duration(n)*time.Second)
	}
	return result
}

func TestInterval(t *testing.T) {
	tests := []struct {
		name     string
		interval time.Duration
		while    time.Duration
		want     []time.Duration
	}{
		{"of the control plane", 10 * time.Second, 35 * time.Second, seconds(10, 20, 30)},
		{"none is five minutes", 0, 11 * time.Minute, seconds(300, 600)},
		{"negative", -time.Second, 6 * time.Minute, seconds(300)},
		{"too short", time.Nanosecond, 3500 * time.Millisecond, seconds(1, 2, 3)},
		{"too long", 1000 * time.Hour, 25 * time.Hour, seconds(24 * 3600)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, test.interval)
				w.live(test.while)
				if !slices.Equal(w.at, test.want) || w.empty != 1 {
					t.Errorf("reported at %v after %d empty ones, want %v", w.at, w.empty, test.want)
				}
			})
		})
	}
	t.Run("changes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 10*time.Second)
			time.AfterFunc(15*time.Second, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.interval = 30 * time.Second
			})
			w.live(85 * time.Second)
			if want := seconds(10, 20, 50, 80); !slices.Equal(w.at, want) {
				t.Errorf("reported at %v, want %v", w.at, want)
			}
		})
	})
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		w.config.Traffic = func() userspace.Traffic {
			return userspace.Traffic{Flows: map[string]int64{"TCP": 3, "UDP": 2}, RxPackets: 4, RxBytes: 5, TxPackets: 6, TxBytes: 7}
		}
		w.config.Sessions = func() map[agentv2.Connection_Type]int64 {
			return map[agentv2.Connection_Type]int64{
				agentv2.Connection_SSH: 1, agentv2.Connection_VSCODE: 2, agentv2.Connection_JETBRAINS: 3, agentv2.Connection_RECONNECTING_PTY: 4,
			}
		}
		w.config.Latencies = func(context.Context) []time.Duration { return []time.Duration{1500 * time.Microsecond} }
		w.config.Metrics = func() []*agentv2.Stats_Metric {
			return []*agentv2.Stats_Metric{{Name: "m", Type: agentv2.Stats_Metric_GAUGE, Value: 7}}
		}
		w.live(15 * time.Second)
		if len(w.reports) != 1 {
			t.Fatalf("%d reports", len(w.reports))
		}
		got := w.reports[0]
		if !maps.Equal(got.GetConnectionsByProto(), map[string]int64{"TCP": 3, "UDP": 2}) || got.GetConnectionCount() != 5 || got.GetConnectionMedianLatencyMs() != 1.5 {
			t.Errorf("got %v", got)
		}
		if got.GetRxPackets() != 4 || got.GetRxBytes() != 5 || got.GetTxPackets() != 6 || got.GetTxBytes() != 7 {
			t.Errorf("got %v", got)
		}
		if got.GetSessionCountSsh() != 1 || got.GetSessionCountVscode() != 2 || got.GetSessionCountJetbrains() != 3 || got.GetSessionCountReconnectingPty() != 4 {
			t.Errorf("got %v", got)
		}
		if metrics := got.GetMetrics(); len(metrics) != 2 || metrics[1].GetName() != "m" {
			t.Errorf("metrics %v", metrics)
		}
	})
}

func TestMedian(t *testing.T) {
	ms := time.Millisecond
	tests := []struct {
		of   []time.Duration
		want float64
	}{
		{nil, -1},
		{[]time.Duration{5 * ms}, 5},
		{[]time.Duration{9 * ms, 1 * ms, 2 * ms}, 2},
		{[]time.Duration{4 * ms, 1 * ms, 9 * ms, 2 * ms}, 3},
		{[]time.Duration{250 * time.Microsecond}, 0.25},
	}
	for _, test := range tests {
		if got := median(test.of); got != test.want {
			t.Errorf("%v: got %v, want %v", test.of, got, test.want)
		}
	}
}

// TestNothingIsLostOrDoubled lets the control plane do everything that it can
// do to a counter.
func TestNothingIsLostOrDoubled(t *testing.T) {
	broken := errors.New("database is away")
	tests := []struct {
		name string
		live func(w *world)
	}{
		{"fails", func(w *world) {
			w.live(15 * time.Second)
			w.failures = []error{broken, broken, broken, broken, broken}
			w.live(70 * time.Second)
		}},
		{"fails, and is cut before it takes it", func(w *world) {
			time.AfterFunc(9*time.Second, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.failures = []error{broken}
			})
			w.live(12 * time.Second)
			w.live(15 * time.Second)
		}},
		{"blocks for a minute", func(w *world) {
			w.live(15 * time.Second)
			w.block = true
			time.AfterFunc(time.Minute, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.block = false
			})
			w.live(110 * time.Second)
		}},
		{"is away for a minute", func(w *world) {
			w.live(15 * time.Second)
			time.Sleep(time.Minute)
			w.live(15 * time.Second)
		}},
		{"is cut before each report is due", func(w *world) {
			for range 10 {
				w.live(7 * time.Second)
			}
		}},
		{"the answer gets lost", func(w *world) {
			w.lose = []int{1, 2, 4}
			w.live(50 * time.Second)
		}},
		{"the connection is cut while the answer is under way", func(w *world) {
			w.lose = []int{1, 2}
			w.live(11 * time.Second)
			w.live(50 * time.Second)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 10*time.Second)
				test.live(w)
				w.live(11 * time.Second)
				told := int64(w.taken.Sub(w.began)/time.Second) * 100
				if w.unanswered != nil {
					t.Errorf("%v is still unanswered", w.unanswered)
				}
				if got := w.bytes(); got != told || time.Since(w.taken) > 12*time.Second {
					t.Errorf("told %d bytes of %d, the last %s ago", got, told, time.Since(w.taken))
				}
			})
		})
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Hour)
		drain := func(limit, want time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			if w.Drain(ctx); time.Since(began) != want {
				t.Errorf("took %s, want %s", time.Since(began), want)
			}
		}
		drain(time.Second, time.Second) // there is no connection
		go func() {
			time.Sleep(9 * time.Second)
			drain(time.Hour, 0)
			w.mu.Lock()
			w.failures = []error{errors.New("database is away")}
			w.mu.Unlock()
			drain(time.Hour, retryWait)
		}()
		w.live(30 * time.Second)
		if got := w.bytes(); got != 1000 || len(w.reports) != 2 {
			t.Errorf("told %d bytes in %d reports", got, len(w.reports))
		}
	})
}

func TestTakesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		w.failures = []error{drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)}
		w.live(time.Minute)
		if w.calls != 1 || len(w.reports) != 0 {
			t.Errorf("%d calls", w.calls)
		}
		if w.Drain(t.Context()); time.Since(w.began) != time.Minute {
			t.Error("the end waits for nobody")
		}
	})
}
