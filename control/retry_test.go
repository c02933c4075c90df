package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"storj.io/drpc/drpcmux"
)

// failing makes each dial of a network fail with the next of these errors, and
// then succeed.
func failing(dialer *Dialer, network *pipes, errs ...error) {
	var mu sync.Mutex
	dialer.HTTP.Transport.(*http.Transport).DialContext = func(ctx context.Context, kind, addr string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(errs) > 0 {
			err := errs[0]
			errs = errs[1:]
			return nil, err
		}
		return network.dial(ctx, kind, addr)
	}
}

// Go's own dial timeout matches context.DeadlineExceeded: only the loop's own
// context ends the loop.
func TestContextErrorsOfADialAreRetried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, heard, network := &plane{}, &reports{}, newPipes()
		dialer := serve(t, p, network)
		failing(dialer, network,
			fmt.Errorf("dial tcp: %w", context.DeadlineExceeded), fmt.Errorf("dial tcp: %w", context.Canceled),
			context.Canceled, context.DeadlineExceeded, net.ErrClosed, &net.OpError{Op: "dial", Err: errors.New("refused")})
		stop := run(t, userLoop(dialer, &data{}, heard))
		time.Sleep(30 * time.Second)
		if heard.ups() != 1 || len(heard.all()) != 7 {
			t.Errorf("heard %+v", heard.all())
		}
		stop()
	})
}

// Whatever the loop is doing when its context ends, it dials no more, and the
// end is no error.
func TestNothingDialsAfterTheEnd(t *testing.T) {
	const seed = 3
	random := rand.New(rand.NewPCG(seed, seed))
	for i := range 60 {
		bubble(t, func(t *testing.T) {
			p, heard, network, lines := &plane{}, &reports{}, newPipes(), &journal{}
			switch i % 4 {
			case 1: // refused: it waits
				p.reject = func(int, *http.Request) (int, string) { return 500, `{"message":"no"}` }
			case 2: // black: it dials
				network.setBlack(true)
			case 3: // ended again and again: it waits or connects
				p.serve = brief
			}
			var tries atomic.Int32 // a dial may also end before the network hears of it
			dialer := serve(t, p, network)
			dialer.Token = func() string { tries.Add(1); return "token" }
			loop := userLoop(dialer, &data{}, heard)
			loop.Logger = slog.New(lines)
			ctx, cancel := context.WithCancel(context.Background())
			var done sync.WaitGroup
			done.Go(func() { _ = loop.Run(ctx) })
			time.Sleep(time.Duration(random.Int64N(int64(15 * time.Second))))
			before, tried := network.dialed(), tries.Load()
			logged := lines.count(slog.LevelWarn, "")
			cancel()
			loop.Kick()
			done.Wait()
			time.Sleep(time.Hour)
			synctest.Wait()
			if now := network.dialed(); now != before || tries.Load() != tried {
				t.Errorf("case %d (seed %d): %d dials after the end, %d tries", i%4, seed, now-before, tries.Load()-tried)
			}
			if now := lines.count(slog.LevelWarn, ""); now != logged {
				t.Errorf("case %d (seed %d): %d warnings about the end", i%4, seed, now-logged)
			}
			p.hangUp()
		})
	}
	// A context that has ended before leads to no dial at all.
	bubble(t, func(t *testing.T) {
		network := newPipes()
		loop := userLoop(serve(t, &plane{}, network), &data{}, &reports{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := loop.Run(ctx); !errors.Is(err, context.Canceled) || network.dialed() != 0 {
			t.Errorf("ended with %v after %d dials", err, network.dialed())
		}
	})
}

// The outcome of the very first dial, for who waits for it; the loop goes on
// whatever it was.
func TestFirstDialRules(t *testing.T) {
	tests := []struct {
		name   string
		status int
		told   bool
	}{
		{"success", 0, false},
		{"400", 400, true},
		{"401", 401, false},
		{"403", 403, false},
		{"404", 404, true},
		{"409", 409, true},
		{"500", 500, true},
		{"502", 502, false},
		{"503", 503, false},
		{"network error", -1, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p, heard, network := &plane{}, &reports{}, newPipes()
				dialer := serve(t, p, network)
				p.reject = func(dial int, _ *http.Request) (int, string) {
					if dial == 1 && test.status > 0 {
						return test.status, `{"message":"the reason"}`
					}
					return 0, ""
				}
				if test.status < 0 {
					failing(dialer, network, errors.New("no route"))
				}
				loop := userLoop(dialer, &data{}, heard)
				stop := run(t, loop)
				err := loop.WaitFirst(t.Context())
				var refused *DialError
				if got := errors.As(err, &refused); got != test.told || got && (refused.Status != test.status || refused.Message != "the reason") || !got && err != nil {
					t.Errorf("who waited got %v", err)
				}
				time.Sleep(time.Minute)
				if heard.ups() != 1 {
					t.Errorf("the loop did not go on: %+v", heard.all())
				}
				if err := loop.WaitFirst(t.Context()); (err != nil) != test.told {
					t.Errorf("later failures or successes changed the outcome: %v", err)
				}
				stop()
			})
		})
	}
}

func TestWaitFirstEndsWithItsContextOrTheLoop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		network := newPipes()
		network.setBlack(true)
		loop := userLoop(serve(t, &plane{}, network), &data{}, &reports{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		stop := run(t, loop)
		if err := loop.WaitFirst(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		stop()
		if err := loop.WaitFirst(t.Context()); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A control plane without its database is only warned about.
func TestDatabaseNotReachable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, heard, lines := &plane{}, &reports{}, &journal{}
		p.reject = func(dial int, _ *http.Request) (int, string) {
			if dial < 3 {
				return 500, `{"message":"Database is not reachable."}`
			}
			return 0, ""
		}
		loop := userLoop(serve(t, p, newPipes()), &data{}, heard)
		loop.Logger = slog.New(lines)
		stop := run(t, loop)
		time.Sleep(10 * time.Second)
		stop()
		if list := heard.all(); !errors.Is(list[0].err, ErrDatabase) || heard.ups() != 1 {
			t.Errorf("heard %+v", list)
		}
		if lines.count(slog.LevelError, "") != 0 || lines.count(slog.LevelWarn, "HTTP 500") != 2 {
			t.Error("it was not only warned about")
		}
	})
}

// Writes into a dead network may also block, as in a full socket buffer.
func TestBlackholeThatBlocksWritesIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		network, p, heard := newPipes(), &plane{}, &reports{}
		network.hang = make(chan struct{})
		engine := &data{}
		run(t, userLoop(serve(t, p, network), engine, heard))
		time.Sleep(time.Minute + 100*time.Millisecond) // just after a ping
		network.setBlack(true)
		began := time.Now()
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		list := heard.all()
		if last := list[len(list)-1]; last.connected || last.at.Sub(began) > 10*time.Second {
			t.Fatalf("not noticed within 10 s: %+v", list)
		}
		engine.read(func(d *data) {
			if d.lost != 1 {
				t.Errorf("peers marked lost %d times", d.lost)
			}
		})
		network.setBlack(false)
		close(network.hang)
		time.Sleep(dialTimeout + backoffCeiling)
		synctest.Wait()
		if heard.ups() != 2 {
			t.Fatal("not back")
		}
		p.hangUp()
	})
}

// brief ends each connection after a moment.
func brief(_ context.Context, socket *websocket.Conn, _ *drpcmux.Mux) {
	time.Sleep(300 * time.Millisecond)
	_ = socket.CloseNow()
}
