package apphealth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app of the number n, whose id and URL say which one it is.
func definition(n byte, interval time.Duration, threshold int32) *agentv2.WorkspaceApp {
	id := uuid.UUID{n}
	return &agentv2.WorkspaceApp{
		Id: id[:], Slug: fmt.Sprint("app", n), Health: agentv2.WorkspaceApp_INITIALIZING,
		Healthcheck: &agentv2.WorkspaceApp_Healthcheck{Url: fmt.Sprint(n), Interval: durationpb.New(interval), Threshold: threshold},
	}
}

// world is a checker with its apps and its control plane, in a bubble.
type world struct {
	*Checker
	t     *testing.T
	began time.Time

	lock    sync.Mutex
	apps    []*agentv2.WorkspaceApp
	answers map[string]string // by app: what each of its checks does: . f(ails) h(angs)
	asked   map[string][]time.Duration
	told    []string
	calls   int
	fails   []error
	block   bool
}

func newWorld(t *testing.T, apps ...*agentv2.WorkspaceApp) *world {
	w := &world{t: t, began: time.Now(), apps: apps, answers: map[string]string{}, asked: map[string][]time.Duration{}}
	w.Checker = New(slog.New(slog.DiscardHandler), func() []*agentv2.WorkspaceApp {
		w.lock.Lock()
		defer w.lock.Unlock()
		return w.apps
	})
	w.get = w.answer
	return w
}

func (w *world) answer(ctx context.Context, url string) error {
	w.lock.Lock()
	script, number := w.answers[url], len(w.asked[url])
	w.asked[url] = append(w.asked[url], time.Since(w.began))
	w.lock.Unlock()
	does := byte('.')
	if script != "" {
		does = script[min(number, len(script)-1)]
	}
	switch does {
	case 'f':
		return errors.New("refused")
	case 'h':
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (w *world) BatchUpdateAppHealths(ctx context.Context, in *agentv2.BatchUpdateAppHealthRequest) (*agentv2.BatchUpdateAppHealthResponse, error) {
	w.lock.Lock()
	w.calls++
	block := w.block
	var err error
	if len(w.fails) > 0 {
		err, w.fails = w.fails[0], w.fails[1:]
	}
	w.lock.Unlock()
	if block {
		<-ctx.Done()
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, each := range in.GetUpdates() {
		w.told = append(w.told, fmt.Sprintf("%s %d %s", time.Since(w.began).Truncate(time.Second), each.GetId()[0], each.GetHealth()))
	}
	return &agentv2.BatchUpdateAppHealthResponse{}, nil
}

func (w *world) live(while time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), while)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { w.Check(ctx) })
	group.Go(func() {
		time.Sleep(tick / 2) // after the checks
		if err := w.Run(ctx, w); err != nil {
			w.t.Error(err)
		}
	})
	group.Wait()
}

func TestThreshold(t *testing.T) {
	tests := []struct {
		name      string
		threshold int32
		answers   string
		want      []string
	}{
		{"healthy", 3, ".", []string{"1s 1 HEALTHY"}},
		{"zero: the first failure counts", 0, "f", []string{"1s 1 UNHEALTHY"}},
		{"negative is zero", -5, "f", []string{"1s 1 UNHEALTHY"}},
		{"as many as the threshold are not enough", 3, "fff.", []string{"4s 1 HEALTHY"}},
		{"one more than the threshold", 3, "ffff", []string{"4s 1 UNHEALTHY"}},
		{"in a row", 1, "f.f.ff.", []string{"2s 1 HEALTHY", "6s 1 UNHEALTHY", "7s 1 HEALTHY"}},
		{"stays healthy below it", 2, ".ff.", []string{"1s 1 HEALTHY"}},
		{"only changes", 0, "fff..f", []string{"1s 1 UNHEALTHY", "4s 1 HEALTHY", "6s 1 UNHEALTHY"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, definition(1, time.Second, test.threshold))
				w.answers["1"] = test.answers
				w.live(10 * time.Second)
				if !slices.Equal(w.told, test.want) {
					t.Errorf("told %q, want %q", w.told, test.want)
				}
			})
		})
	}
}

func TestInitializingIsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, definition(1, 3*time.Second, 0), definition(2, 3*time.Second, 0))
		w.apps[0].Health = agentv2.WorkspaceApp_HEALTHY // of an earlier run
		w.apps[1].Health = agentv2.WorkspaceApp_HEALTH_UNSPECIFIED
		w.live(5 * time.Second)
		want := []string{"0s 1 INITIALIZING", "0s 2 INITIALIZING", "3s 1 HEALTHY", "3s 2 HEALTHY"}
		if !slices.Equal(w.told, want) {
			t.Errorf("told %q, want %q", w.told, want)
		}
	})
}

// TestHangingApp is one that takes the time-out, which is a millisecond less
// than its interval.
func TestHangingApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, definition(1, 3*time.Second, 1), definition(2, time.Second, 0))
		w.answers["1"] = "h"
		var took []time.Duration
		next := w.get
		w.get = func(ctx context.Context, url string) error {
			began := time.Now()
			err := next(ctx, url)
			if url == "1" && err != nil && len(took) < 2 {
				took = append(took, time.Since(began))
			}
			return err
		}
		w.live(9900 * time.Millisecond)
		limit := 3*time.Second - time.Millisecond
		if !slices.Equal(took, []time.Duration{limit, limit}) {
			t.Errorf("checks took %v", took)
		}
		if want := []time.Duration{3 * time.Second, 6 * time.Second, 9 * time.Second}; !slices.Equal(w.asked["1"], want) {
			t.Errorf("asked at %v", w.asked["1"])
		}
		if len(w.asked["2"]) != 9 {
			t.Errorf("the other one was asked %d times", len(w.asked["2"]))
		}
		if want := []string{"1s 2 HEALTHY", "9s 1 UNHEALTHY"}; !slices.Equal(w.told, want) {
			t.Errorf("told %q", w.told)
		}
	})
}

func TestWhoIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disabled, without, broken := definition(2, time.Second, 0), definition(3, time.Second, 0), definition(4, time.Second, 0)
		disabled.Health = agentv2.WorkspaceApp_DISABLED
		without.Healthcheck = nil
		broken.Id = broken.Id[:15]
		noURL := definition(5, time.Second, 0)
		noURL.Healthcheck.Url = ""
		w := newWorld(t, definition(1, 0, 0), definition(6, -time.Second, 0), disabled, without, broken, noURL,
			definition(7, time.Millisecond, 0), definition(7, time.Second, 0))
		w.live(3500 * time.Millisecond)
		if len(w.asked) != 1 || len(w.asked["7"]) != 3 {
			t.Errorf("asked %v", w.asked)
		}
		if want := []string{"1s 7 HEALTHY"}; !slices.Equal(w.told, want) {
			t.Errorf("told %q", w.told)
		}
	})
}

func TestManyApps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var apps []*agentv2.WorkspaceApp
		for n := range maxApps + 10 {
			each := definition(0, time.Second, 0)
			id := uuid.UUID{byte(n), byte(n >> 8)}
			each.Id, each.Healthcheck.Url = id[:], fmt.Sprint(n)
			apps = append(apps, each)
		}
		w := newWorld(t, apps...)
		w.live(1500 * time.Millisecond)
		if len(w.asked) != maxApps {
			t.Errorf("asked %d apps", len(w.asked))
		}
	})
}

func TestAnotherManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, definition(1, time.Second, 0), definition(2, time.Second, 0), definition(3, time.Second, 0))
		w.answers["2"] = "h"
		time.AfterFunc(2200*time.Millisecond, func() {
			w.lock.Lock()
			defer w.lock.Unlock()
			w.apps = []*agentv2.WorkspaceApp{definition(1, time.Second, 0), definition(2, 2*time.Second, 0)}
		})
		w.live(6900 * time.Millisecond)
		want := []string{"1s 1 HEALTHY", "1s 3 HEALTHY", "2s 2 UNHEALTHY", "3s 2 INITIALIZING", "7s 2 UNHEALTHY"}
		if len(w.asked["3"]) != 2 || len(w.asked["1"]) != 6 || !slices.Equal(w.told, want[:4]) {
			t.Errorf("asked %v, told %q", w.asked, w.told)
		}
	})
}

func TestFaultsOfTheControlPlane(t *testing.T) {
	tests := []struct {
		name   string
		change func(*world)
		want   []string
		calls  int
	}{
		{"fails", func(w *world) { w.fails = []error{errors.New("database is away"), errors.New("still")} }, []string{"11s 1 UNHEALTHY"}, 3},
		{"blocks for a minute", func(w *world) {
			w.block = true
			time.AfterFunc(time.Minute, func() {
				w.lock.Lock()
				defer w.lock.Unlock()
				w.block = false
			})
		}, []string{"1m11s 1 UNHEALTHY"}, 3},
		{"takes none", func(w *world) {
			w.fails = []error{drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)}
		}, nil, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, definition(1, time.Second, 1))
				w.answers["1"] = ".f" // healthy, which nobody takes, and then no longer
				test.change(w)
				w.live(100*time.Second - 1)
				if !slices.Equal(w.told, test.want) || w.calls != test.calls || len(w.asked["1"]) != 99 {
					t.Errorf("told %q in %d calls, asked %d times", w.told, w.calls, len(w.asked["1"]))
				}
			})
		})
	}
	t.Run("is cut and comes back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, definition(1, time.Second, 1))
			w.live(2 * time.Second)
			w.answers["1"] = "f"
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			group.Go(func() { w.Check(ctx) })
			time.Sleep(time.Minute)
			w.lock.Lock()
			// What the next manifest says is what the control plane heard last.
			healthy := definition(1, time.Second, 1)
			healthy.Health = agentv2.WorkspaceApp_HEALTHY
			w.apps = []*agentv2.WorkspaceApp{healthy}
			w.lock.Unlock()
			group.Go(func() {
				if err := w.Run(ctx, w); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Minute)
			cancel()
			group.Wait()
			if got := strings.Join(w.told, ", "); got != "1s 1 HEALTHY, 1m2s 1 UNHEALTHY" {
				t.Errorf("told %s", got)
			}
		})
	})
}
