package connections

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/emptypb"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plane takes reports, after failing as often as it is asked to. It is used in
// synctest bubbles, where the test waits for everybody else to stand still.
type plane struct {
	mu       sync.Mutex
	failures []error
	block    bool
	calls    int
	told     []*agentv2.Connection
}

func (p *plane) ReportConnection(ctx context.Context, in *agentv2.ReportConnectionRequest) (*emptypb.Empty, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.block {
		p.mu.Unlock()
		<-ctx.Done()
		p.mu.Lock()
		return nil, ctx.Err()
	}
	if len(p.failures) > 0 {
		err := p.failures[0]
		p.failures = p.failures[1:]
		return nil, err
	}
	p.told = append(p.told, in.GetConnection())
	return &emptypb.Empty{}, nil
}

// lines are what was told, with sessions numbered as they appear.
func (p *plane) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	numbers := map[string]int{}
	var result []string
	for _, c := range p.told {
		if _, known := numbers[string(c.GetId())]; !known {
			numbers[string(c.GetId())] = len(numbers) + 1
		}
		line := fmt.Sprintf("%d %s %s %s", numbers[string(c.GetId())], c.GetAction(), c.GetType(), c.GetIp())
		if c.GetAction() == agentv2.Connection_DISCONNECT {
			line += fmt.Sprintf(" %d %q", c.GetStatusCode(), c.GetReason())
		}
		result = append(result, line)
	}
	return result
}

func (p *plane) callCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func run(t *testing.T, l *Log, p Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, p) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func tcp(text string) net.Addr {
	addr, _ := net.ResolveTCPAddr("tcp", text)
	return addr
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := New(discard()), &plane{}
		stop := run(t, l, p)
		defer stop()
		first := l.Open(agentv2.Connection_SSH, tcp("[fd60:627a:a42b::7%eth0]:4000"))
		began := time.Now()
		time.Sleep(time.Second)
		second := l.Open(agentv2.Connection_VSCODE, tcp("127.0.0.1:1"))
		first(255, "connection reset")
		first(0, "a second time")
		if got, want := l.Counts(), map[agentv2.Connection_Type]int64{agentv2.Connection_VSCODE: 1}; !maps.Equal(got, want) {
			t.Errorf("counts %v, want %v", got, want)
		}
		second(0, "")
		synctest.Wait()
		want := []string{
			"1 CONNECT SSH fd60:627a:a42b::7", "2 CONNECT VSCODE 127.0.0.1",
			`1 DISCONNECT SSH fd60:627a:a42b::7 255 "connection reset"`, `2 DISCONNECT VSCODE 127.0.0.1 0 ""`,
		}
		if got := p.lines(); !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		if !p.told[0].GetTimestamp().AsTime().Equal(began) || !p.told[1].GetTimestamp().AsTime().Equal(began.Add(time.Second)) {
			t.Error("the times are not those of the sessions")
		}
		if p.told[3].Reason != nil {
			t.Error("no reason is told as a reason")
		}
		if len(l.Counts()) != 0 {
			t.Errorf("counts %v after the end", l.Counts())
		}
	})
}

func TestFaultsOfTheControlPlane(t *testing.T) {
	broken := errors.New("database is away")
	order := []string{"1 CONNECT SSH 127.0.0.1", `1 DISCONNECT SSH 127.0.0.1 7 "exit"`}
	t.Run("fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, p := New(discard()), &plane{failures: []error{broken, broken}}
			defer run(t, l, p)()
			l.Open(agentv2.Connection_SSH, tcp("127.0.0.1:1"))(7, "exit")
			time.Sleep(2*retryWait - 1)
			synctest.Wait()
			if len(p.lines()) != 0 {
				t.Errorf("told %q too early", p.lines())
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if got := p.lines(); !slices.Equal(got, order) {
				t.Errorf("told %q", got)
			}
		})
	})
	t.Run("blocks for a minute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, p := New(discard()), &plane{block: true}
			defer run(t, l, p)()
			began := time.Now()
			l.Open(agentv2.Connection_SSH, tcp("127.0.0.1:1"))(7, "exit")
			if time.Since(began) != 0 {
				t.Error("a session waited for the control plane")
			}
			time.Sleep(time.Minute)
			p.mu.Lock()
			p.block = false
			p.mu.Unlock()
			time.Sleep(answerLimit + retryWait)
			synctest.Wait()
			if got := p.lines(); !slices.Equal(got, order) || p.callCount() != 4 {
				t.Errorf("told %q in %d calls", got, p.callCount())
			}
		})
	})
	t.Run("is cut and comes back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, before, after := New(discard()), &plane{block: true}, &plane{}
			stop := run(t, l, before)
			closed := l.Open(agentv2.Connection_SSH, tcp("127.0.0.1:1"))
			synctest.Wait()
			stop()
			time.Sleep(time.Minute)
			closed(7, "exit")
			defer run(t, l, after)()
			synctest.Wait()
			if got := after.lines(); !slices.Equal(got, order) {
				t.Errorf("told %q", got)
			}
		})
	})
	t.Run("takes no reports", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var text bytes.Buffer
			l := New(slog.New(slog.NewTextHandler(&text, nil)))
			p := &plane{failures: []error{drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)}}
			closed := l.Open(agentv2.Connection_SSH, tcp("127.0.0.1:1"))
			if err := l.Run(t.Context(), p); err != nil {
				t.Error(err)
			}
			closed(0, "")
			for range 2 * maxQueued {
				l.Open(agentv2.Connection_SSH, nil)(0, "")
			}
			later := &plane{} // an upgrade
			stop := run(t, l, later)
			synctest.Wait()
			l.Open(agentv2.Connection_SSH, tcp("127.0.0.1:1"))(7, "exit")
			synctest.Wait()
			stop()
			if got := later.lines(); !slices.Equal(got, order) || text.Len() > 0 {
				t.Errorf("told %q, logged %q", got, text.String())
			}
		})
	})
}

// TestFullQueue fills it in three ways; every session that is told of has its
// end told, and nothing is out of order.
func TestFullQueue(t *testing.T) {
	tests := []struct {
		name string
		fill func(l *Log, known func(int32, string))
		want int
	}{
		{"with sessions that go on", func(l *Log, known func(int32, string)) {
			for range maxQueued {
				l.Open(agentv2.Connection_SSH, nil)
			}
			known(7, "")
			// The end of the known one is there in the place of the newest of them.
		}, 1 + maxQueued},
		{"with short sessions", func(l *Log, known func(int32, string)) {
			for range maxQueued {
				l.Open(agentv2.Connection_SSH, nil)(0, "")
			}
			known(7, "")
		}, 1 + maxQueued - 1},
		{"ends of sessions of which only the begin is queued", func(l *Log, known func(int32, string)) {
			var ends []func(int32, string)
			for range maxQueued {
				ends = append(ends, l.Open(agentv2.Connection_SSH, nil))
			}
			for _, end := range ends {
				end(0, "")
			}
			known(7, "")
		}, 1 + maxQueued - 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var text bytes.Buffer
				l, p := New(slog.New(slog.NewTextHandler(&text, nil))), &plane{}
				stop := run(t, l, p)
				known := l.Open(agentv2.Connection_VSCODE, nil)
				synctest.Wait()
				stop()
				test.fill(l, known)
				if len(l.queue) > maxQueued || strings.Count(text.String(), "\n") != 1 {
					t.Errorf("%d queued, logged %q", len(l.queue), text.String())
				}
				stop = run(t, l, p)
				synctest.Wait()
				stop()
				checkOrder(t, p.told, test.name != "with sessions that go on")
				last := p.told[len(p.told)-1]
				if len(p.told) != test.want || last.GetType() != agentv2.Connection_VSCODE || last.GetStatusCode() != 7 {
					t.Errorf("told %d, want %d; the last is %v", len(p.told), test.want, last)
				}
				if l.full {
					t.Error("the next loss would not be logged")
				}
			})
		})
	}
}

// checkOrder demands one begin and at most one end of each session, in this
// order, and both if all have ended.
func checkOrder(t *testing.T, told []*agentv2.Connection, ended bool) {
	t.Helper()
	open := map[string]bool{}
	for _, c := range told {
		id := string(c.GetId())
		was, seen := open[id]
		if begin := c.GetAction() == agentv2.Connection_CONNECT; begin == seen || !begin && !was {
			t.Fatalf("%v is out of order", c)
		}
		open[id] = !seen
	}
	for id, still := range open {
		if still && ended {
			t.Fatalf("the end of %x is not told", id)
		}
	}
}

// TestEndsOfKnownSessionsStay while there is anybody else to give up.
func TestEndsOfKnownSessionsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := New(discard()), &plane{}
		stop := run(t, l, p)
		first, second := l.Open(agentv2.Connection_VSCODE, nil), l.Open(agentv2.Connection_VSCODE, nil)
		synctest.Wait()
		stop()
		for range maxQueued - 1 {
			l.Open(agentv2.Connection_SSH, nil)
		}
		first(1, "")
		second(2, "")
		stop = run(t, l, p)
		synctest.Wait()
		stop()
		var codes []int32
		for _, c := range p.told {
			if c.GetAction() == agentv2.Connection_DISCONNECT {
				codes = append(codes, c.GetStatusCode())
			}
		}
		if !slices.Equal(codes, []int32{1, 2}) {
			t.Errorf("told of the ends %v", codes)
		}
	})
}

// TestAllKnownSessionsEndAtOnce is the one case in which an end is given up.
func TestAllKnownSessionsEndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := New(discard()), &plane{}
		stop := run(t, l, p)
		var ends []func(int32, string)
		for range maxQueued + 10 {
			ends = append(ends, l.Open(agentv2.Connection_SSH, nil))
			synctest.Wait()
		}
		stop()
		for _, end := range ends {
			end(0, "")
		}
		if len(l.queue) != maxQueued || len(l.Counts()) != 0 {
			t.Errorf("%d queued, %v open", len(l.queue), l.Counts())
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := New(discard()), &plane{failures: []error{errors.New("database is away")}}
		drain := func(limit, want time.Duration) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			if l.Drain(ctx); time.Since(began) != want {
				t.Errorf("took %s, want %s", time.Since(began), want)
			}
		}
		drain(time.Hour, 0)
		closed := l.Open(agentv2.Connection_SSH, nil)
		drain(time.Second, time.Second) // nobody takes it
		stop := run(t, l, p)
		drain(time.Hour, retryWait)
		closed(0, "")
		drain(time.Hour, 0)
		if len(p.told) != 2 {
			t.Errorf("told %q", p.lines())
		}
		stop()
		l.Open(agentv2.Connection_SSH, nil)
		l.setDeaf(true)
		drain(time.Hour, 0)
	})
}
