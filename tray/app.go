package tray

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

// errQuit is the wish of the user to end the tray.
var errQuit = errors.New("the user quits")

// backend shows an icon and a menu. Its methods are called one at a time.
type backend interface {
	setIcon(icon)
	setTooltip(string)
	// apply carries out changes; items are appended, changed in place and hidden.
	apply([]change)
}

// desktop is what surrounds the icon.
type desktop interface {
	// notify shows a notification. Those of one topic replace each other.
	notify(ctx context.Context, topic string, n note) error
	// copy puts a text on the clipboard.
	copy(ctx context.Context, text string) error
	// terminal runs a program in a terminal window that stays open if it fails.
	// A question, if there is one, is asked there first; its answer is the last word.
	terminal(ctx context.Context, argv []string, question string) error
	// browse opens a page.
	browse(ctx context.Context, url string) error
	autostart() bool
	setAutostart(on bool) error
}

// app is the tray's one loop: everything that happens is an event, and after
// each the model is computed anew.
type app struct {
	dial     dialFunc
	desktop  desktop
	settings string // path of the file
	socket   string
	cli      string // the causeway program
	logger   *slog.Logger

	events chan func()
	work   sync.WaitGroup

	// What follows belongs to the loop.
	in        input
	backend   backend
	shown     shown
	icon      icon
	tooltip   string
	policy    policy
	noteTimer *time.Timer
	missing   *time.Timer // runs while the daemon is gone and not yet said to be
	redraw    *time.Timer // runs while changes are gathered
	quit      bool
	launched  bool // the wish to connect at launch is done with
}

// post hands an event to the loop, unless that has ended.
func (a *app) post(ctx context.Context, event func()) {
	select {
	case a.events <- event:
	case <-ctx.Done():
	}
}

// first waits for what is known at once, so that the icon never shows a state
// that was not heard.
func (a *app) first(ctx context.Context) {
	current, err := readSettings(a.settings)
	if err != nil {
		a.in.refused = faultOf(err)
	}
	a.in.settings = current
	a.in.settings.autostart = a.desktop.autostart()
	a.work.Go(func() {
		follow(ctx, a.dial, func(n news) { a.post(ctx, func() { a.heard(ctx, n) }) })
	})
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	for a.in.status == nil {
		select {
		case event := <-a.events:
			event()
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// run shows everything on the backend and handles events until the context ends
// or the user quits.
func (a *app) run(ctx context.Context, b backend) error {
	a.backend = b
	a.draw(ctx)
	for {
		select {
		case event := <-a.events:
			event()
		case <-ctx.Done():
			return ctx.Err()
		}
		if a.quit {
			return errQuit
		}
	}
}

// heard takes news of the daemon.
func (a *app) heard(ctx context.Context, n news) {
	if n.lost != nil {
		a.lost(ctx, n.lost)
		return
	}
	if a.missing != nil {
		a.missing.Stop()
		a.missing = nil
	}
	before, was := a.in.status, a.in.daemon
	a.in.daemon, a.in.status, a.in.daemonVersion, a.in.away = present, n.status, n.daemonVersion, fault{}
	if was != present || before.GetState() != n.status.GetState() || before.GetProfile() != n.status.GetProfile() ||
		before.GetUrl() != n.status.GetUrl() || before.GetUser() != n.status.GetUser() || before.GetView() != n.status.GetView() {
		a.askProfiles(ctx)
	}
	if before.GetState() != n.status.GetState() {
		a.in.refused = fault{}
	}
	a.launch(ctx)
	if was == present && before.GetState() == n.status.GetState() && before.GetWantedUp() == n.status.GetWantedUp() {
		a.drawSoon(ctx)
		return
	}
	a.draw(ctx)
}

// lost waits a while before it says that the daemon is gone.
func (a *app) lost(ctx context.Context, err error) {
	a.in.away = faultOf(err)
	a.logger.Debug("no word from the daemon", slog.Any("error", err))
	if a.in.daemon == present {
		a.in.daemon = searching
	}
	if a.in.daemon == searching && a.missing == nil {
		a.missing = time.AfterFunc(patience, func() {
			a.post(ctx, func() {
				if a.in.daemon == searching {
					a.in.daemon = away
					a.draw(ctx)
				}
			})
		})
	}
	a.draw(ctx)
}

func (a *app) askProfiles(ctx context.Context) {
	a.work.Go(func() {
		profiles, err := call(ctx, a.dial, answerLimit, func(ctx context.Context, client localv1.DRPCLocalClient) (*localv1.ListProfilesResponse, error) {
			return client.ListProfiles(ctx, &localv1.ListProfilesRequest{})
		})
		if err != nil {
			a.logger.Debug("list profiles", slog.Any("error", err))
		}
		a.post(ctx, func() {
			a.in.profiles = profiles.GetProfiles()
			a.draw(ctx)
		})
	})
}

// opened is called when the menu is: what the daemon does not tell by itself is
// asked for.
func (a *app) opened(ctx context.Context) {
	if a.in.daemon == present {
		a.askProfiles(ctx)
	}
	if on := a.desktop.autostart(); on != a.in.settings.autostart {
		a.in.settings.autostart = on
		a.draw(ctx)
	}
}

// launch connects once, if the settings say so.
func (a *app) launch(ctx context.Context) {
	if a.launched {
		return
	}
	a.launched = true
	if a.in.settings.connectAtLaunch && a.in.status.GetState() == localv1.State_DOWN && a.in.status.GetView() != localv1.View_SUMMARY {
		a.do(ctx, action{verb: connect})
	}
}

// drawSoon draws after a while, with whatever else has changed by then.
func (a *app) drawSoon(ctx context.Context) {
	if a.redraw != nil {
		return
	}
	a.redraw = time.AfterFunc(gather, func() { a.post(ctx, func() { a.draw(ctx) }) })
}

// draw brings the backend up to date and tells what is to be told.
func (a *app) draw(ctx context.Context) {
	if a.redraw != nil {
		a.redraw.Stop()
		a.redraw = nil
	}
	if a.backend == nil {
		return
	}
	next := build(a.in)
	if next.icon != a.icon {
		a.icon = next.icon
		a.backend.setIcon(next.icon)
	}
	if next.tooltip != a.tooltip {
		a.tooltip = next.tooltip
		a.backend.setTooltip(next.tooltip)
	}
	if changes := a.shown.diff(next); len(changes) > 0 {
		a.backend.apply(changes)
	}
	a.tell(ctx)
}

func (a *app) tell(ctx context.Context) {
	if a.in.daemon == searching && a.in.status == nil {
		return
	}
	now := time.Now()
	notes, again := a.policy.observe(now, a.in)
	for _, n := range notes {
		a.say(ctx, "state", n)
	}
	if a.noteTimer != nil {
		a.noteTimer.Stop()
		a.noteTimer = nil
	}
	if !again.IsZero() {
		a.noteTimer = time.AfterFunc(again.Sub(now), func() { a.post(ctx, func() { a.tell(ctx) }) })
	}
}

// say notifies; a desktop without notifications is no fault of the tunnel.
func (a *app) say(ctx context.Context, topic string, n note) {
	a.work.Go(func() {
		if err := a.desktop.notify(ctx, topic, n); err != nil {
			a.logger.Info("notification not shown", slog.String("title", n.title), slog.Any("error", err))
		}
	})
}
