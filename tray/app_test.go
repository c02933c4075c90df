package tray

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// world is a daemon, a desktop and a backend that remember.
type world struct {
	localv1.DRPCLocalClient

	mu      sync.Mutex
	down    error // what dialling gives
	stuck   bool  // whether it answers nothing
	status  *localv1.Status
	changed chan struct{}
	dials   []time.Time
	calls   []string
	notes   []string
	icons   []icon
	labels  map[string]string
	applied int
}

func newWorld(status *localv1.Status) *world {
	return &world{status: status, changed: make(chan struct{}), labels: map[string]string{}}
}

func (w *world) dial(context.Context) (localv1.DRPCLocalClient, func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials = append(w.dials, time.Now())
	return w, func() {}, w.down
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) GetVersion(ctx context.Context, _ *localv1.GetVersionRequest) (*localv1.GetVersionResponse, error) {
	w.mu.Lock()
	stuck := w.stuck
	w.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &localv1.GetVersionResponse{Version: "v1"}, nil
}

type fakeStream struct {
	localv1.DRPCLocal_WatchStatusClient
	w     *world
	ctx   context.Context
	ready chan struct{}
}

func (w *world) WatchStatus(ctx context.Context, _ *localv1.GetStatusRequest) (localv1.DRPCLocal_WatchStatusClient, error) {
	ready := make(chan struct{})
	close(ready)
	return &fakeStream{w: w, ctx: ctx, ready: ready}, nil
}

func (s *fakeStream) Recv() (*localv1.Status, error) {
	select {
	case <-s.ready:
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.ready = s.w.changed
	if s.w.down != nil {
		return nil, s.w.down
	}
	return s.w.status, nil
}

func (w *world) ListProfiles(context.Context, *localv1.ListProfilesRequest) (*localv1.ListProfilesResponse, error) {
	return &localv1.ListProfilesResponse{}, nil
}

func (w *world) Up(context.Context, *localv1.UpRequest) (*localv1.UpResponse, error) {
	w.mu.Lock()
	w.calls = append(w.calls, "Up")
	w.mu.Unlock()
	time.Sleep(time.Second)
	return &localv1.UpResponse{}, nil
}

func (w *world) Logout(context.Context, *localv1.LogoutRequest) (*localv1.LogoutResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, "Logout")
	return &localv1.LogoutResponse{}, nil
}

func (w *world) Down(context.Context, *localv1.DownRequest) (*localv1.DownResponse, error) {
	return nil, &localapi.Error{Code: localapi.CodePermission, Cause: "no", Remedy: "ask"}
}

func (w *world) setIcon(i icon)    { w.mu.Lock(); defer w.mu.Unlock(); w.icons = append(w.icons, i) }
func (w *world) setTooltip(string) {}
func (w *world) apply(changes []change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied++
	for _, c := range changes {
		w.labels[c.item.key] = c.item.label
	}
}

func (w *world) notify(_ context.Context, _ string, n note) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, n.title)
	return nil
}
func (w *world) copy(context.Context, string) error               { return errors.New("no clipboard") }
func (w *world) terminal(context.Context, []string, string) error { return nil }
func (w *world) browse(context.Context, string) error             { return nil }
func (w *world) autostart() bool                                  { return false }
func (w *world) setAutostart(bool) error                          { return nil }

// startApp runs the app on the world until the test ends.
func startApp(t *testing.T, w *world) (a *app, click func(key string), result <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a = &app{dial: w.dial, desktop: w, settings: filepath.Join(t.TempDir(), "tray.json"), logger: slog.New(slog.DiscardHandler), events: make(chan func())}
	ended := make(chan error, 1)
	go func() {
		a.first(ctx)
		ended <- a.run(ctx, w)
	}()
	t.Cleanup(func() {
		cancel()
		a.work.Wait()
	})
	synctest.Wait()
	return a, func(key string) {
		a.post(ctx, func() { a.click(ctx, key) })
		synctest.Wait()
	}, ended
}

func (w *world) icon() icon {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.icons[len(w.icons)-1]
}

func (w *world) label(key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.labels[key]
}

func (w *world) applications() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.applied
}

func (w *world) allIcons() []icon {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.icons)
}

func (w *world) allCalls() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

func (w *world) allDials() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dials)
}

func (w *world) titles() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.notes)
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestFirstIconIsWhatWasHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(works.status)
		startApp(t, w)
		if !slices.Equal(w.allIcons(), []icon{iconConnected}) {
			t.Errorf("icons %v", w.allIcons())
		}
	})
}

// TestShortAbsenceIsNoError: a daemon that is restarted.
func TestShortAbsenceIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(works.status)
		startApp(t, w)
		w.set(func() { w.down = errors.New("gone") })
		after(3 * time.Second)
		if w.icon() != iconConnecting {
			t.Errorf("icon %s", w.icon())
		}
		w.set(func() { w.down = nil })
		after(maxRetry)
		if w.icon() != iconConnected || slices.Contains(w.allIcons(), iconError) {
			t.Errorf("icons %v", w.allIcons())
		}
		w.set(func() { w.down = errors.New("gone") })
		after(patience)
		if w.icon() != iconError || w.label("problem.0") != "⚠ gone" {
			t.Errorf("icon %s, labels %q", w.icon(), w.label("problem.0"))
		}
		after(lostAfter - patience)
		if got := w.titles(); !slices.Equal(got, []string{"Causeway does not answer"}) {
			t.Errorf("notifications %q", got)
		}
	})
}

// TestLooksForTheDaemonForEver, at growing intervals that stay short.
func TestLooksForTheDaemonForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(works.status)
		w.down = errors.New("not there")
		begin := time.Now()
		startApp(t, w)
		after(24 * time.Hour)
		var gaps []time.Duration
		at := begin
		for _, dial := range w.allDials()[:8] {
			gaps = append(gaps, dial.Sub(at))
			at = dial
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 5000 * ms, 5000 * ms}; !slices.Equal(gaps, want) {
			t.Errorf("dialled after %v, want %v", gaps, want)
		}
		if n := len(w.allDials()); n < 24*60*60/5 {
			t.Errorf("dialled %d times in a day", n)
		}
		w.mu.Lock()
		w.down = nil
		w.mu.Unlock()
		after(maxRetry)
		if w.icon() != iconConnected {
			t.Errorf("icon %s", w.icon())
		}
	})
}

func TestStuckDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(works.status)
		w.stuck = true
		startApp(t, w)
		after(answerLimit + patience)
		if w.icon() != iconError || w.label("problem.0") != "⚠ call the daemon: it does not answer within 5s" || w.label("problem.0.remedy") != "    → run: causeway doctor" {
			t.Errorf("icon %s, labels %q %q", w.icon(), w.label("problem.0"), w.label("problem.0.remedy"))
		}
	})
}

// TestChangesAreGathered: a hundred measurements in a tenth of a second are few
// changes of the menu, and the last one counts.
func TestChangesAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := &localv1.AgentStatus{Names: []string{"a.b"}, Reachable: true, Path: localv1.AgentStatus_DIRECT}
		w := newWorld(&localv1.Status{State: localv1.State_CONNECTED, WantedUp: true, Agents: []*localv1.AgentStatus{agent}})
		startApp(t, w)
		before := w.applications()
		for i := range 100 {
			w.set(func() {
				next := &localv1.AgentStatus{Names: agent.GetNames(), Reachable: true, Path: agent.GetPath(), Latency: durationpb.New(time.Duration(i%19+1) * time.Millisecond)}
				w.status = &localv1.Status{State: localv1.State_CONNECTED, WantedUp: true, Agents: []*localv1.AgentStatus{next}}
			})
			after(time.Millisecond)
		}
		after(gather)
		if got := w.applications() - before; got > 2 || got == 0 {
			t.Errorf("the menu changed %d times", got)
		}
		if got := w.label("ws.0"); got != "a.b — direct, 5 ms" {
			t.Errorf("label %q", got)
		}
	})
}

// TestOneClickAtATime: impatience does not connect twice.
func TestOneClickAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(off.status)
		_, click, _ := startApp(t, w)
		for range 5 {
			click("toggle")
			click("signout")
		}
		if w.label("toggle") != "Connecting…" {
			t.Errorf("toggle %q", w.label("toggle"))
		}
		after(2 * time.Second)
		if !slices.Equal(w.allCalls(), []string{"Up"}) || w.label("toggle") != "Connect" {
			t.Errorf("calls %q, toggle %q", w.allCalls(), w.label("toggle"))
		}
	})
}

func TestRefusedClickIsToldAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(works.status)
		_, click, _ := startApp(t, w)
		click("toggle")
		if w.label("problem.0") != "⚠ no" || w.label("problem.0.remedy") != "    → ask" || !slices.Equal(w.titles(), []string{"Causeway"}) {
			t.Errorf("labels %q %q, notifications %q", w.label("problem.0"), w.label("problem.0.remedy"), w.titles())
		}
		w.set(func() { w.status = off.status })
		after(gather)
		if w.label("problem.0") != "" {
			t.Errorf("still there: %q", w.label("problem.0"))
		}
	})
}

// TestNoClipboard: the name is shown where it cannot be copied.
func TestNoClipboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(works.status)
		_, click, _ := startApp(t, w)
		click("about.more")
		if got := w.titles(); !slices.Equal(got, []string{"No way to the clipboard"}) {
			t.Errorf("notifications %q", got)
		}
	})
}

func TestQuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(works.status)
		_, click, ended := startApp(t, w)
		click("quit")
		if err := <-ended; !errors.Is(err, errQuit) {
			t.Errorf("ended with %v", err)
		}
	})
}
