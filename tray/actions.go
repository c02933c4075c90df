package tray

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

// click does what the item with the key says now.
func (a *app) click(ctx context.Context, key string) {
	wanted := a.shown.action(key)
	a.logger.Debug("clicked", slog.String("item", key))
	if wanted.verb == nothing {
		return
	}
	a.do(ctx, wanted)
}

// do carries out an action. Whatever takes time is done beside the loop.
func (a *app) do(ctx context.Context, wanted action) {
	a.in.refused = fault{}
	switch wanted.verb {
	case connect:
		a.ask(ctx, "Connecting", func(ctx context.Context, client localv1.DRPCLocalClient) error {
			_, err := client.Up(ctx, &localv1.UpRequest{Profile: wanted.arg})
			return err
		})
	case disconnect:
		a.ask(ctx, "Disconnecting", func(ctx context.Context, client localv1.DRPCLocalClient) error {
			_, err := client.Down(ctx, &localv1.DownRequest{Reason: "the tray"})
			return err
		})
	case switchProfile:
		a.ask(ctx, "Switching", func(ctx context.Context, client localv1.DRPCLocalClient) error {
			_, err := client.UseProfile(ctx, &localv1.UseProfileRequest{Name: wanted.arg})
			return err
		})
	case signOut:
		a.ask(ctx, "Signing out", func(ctx context.Context, client localv1.DRPCLocalClient) error {
			_, err := client.Logout(ctx, &localv1.LogoutRequest{})
			return err
		})
	case setAutostart:
		a.setAutostart()
	case setConnectAtLaunch:
		a.setConnectAtLaunch()
	case quit:
		a.quit = true
	case showStatus, copyText, openShell, openBrowser, signIn:
		a.open(ctx, wanted)
	case nothing:
	}
	a.draw(ctx)
}

// ask calls the daemon; meanwhile the toggle shows what goes on. The daemon's
// refusal is shown in the menu and told, since the menu has closed.
func (a *app) ask(ctx context.Context, busy string, what func(context.Context, localv1.DRPCLocalClient) error) {
	if a.in.busy != "" {
		return
	}
	a.in.busy = busy
	a.work.Go(func() {
		_, err := call(ctx, a.dial, workLimit, func(ctx context.Context, client localv1.DRPCLocalClient) (struct{}, error) {
			return struct{}{}, what(ctx, client)
		})
		a.post(ctx, func() {
			a.in.busy = ""
			if err != nil {
				a.refuse(ctx, err)
			}
			a.askProfiles(ctx)
			a.draw(ctx)
		})
	})
}

func (a *app) refuse(ctx context.Context, err error) {
	a.in.refused = faultOf(err)
	a.say(ctx, "click", note{title: "Causeway", text: sentence(a.in.refused), icon: iconError})
}

// call is one call of the daemon on a connection of its own.
func call[Out any](ctx context.Context, dial dialFunc, limit time.Duration, what func(context.Context, localv1.DRPCLocalClient) (Out, error)) (Out, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var none Out
	client, done, err := dial(ctx)
	if err != nil {
		return none, err
	}
	defer done()
	return what(ctx, client)
}

// open starts something beside the icon.
func (a *app) open(ctx context.Context, wanted action) {
	a.work.Go(func() {
		var err error
		switch wanted.verb {
		case copyText:
			if err = a.desktop.copy(ctx, wanted.arg); err != nil {
				// The text itself serves as well.
				a.logger.Info("clipboard", slog.Any("error", err))
				a.say(ctx, "click", note{title: "No way to the clipboard", text: cut(wanted.arg, 300)})
				err = nil
			}
		case openShell:
			err = a.desktop.terminal(ctx, a.causeway("ssh", wanted.arg), "")
		case openBrowser:
			err = a.desktop.browse(ctx, wanted.arg)
		case showStatus:
			err = a.desktop.terminal(ctx, a.causeway("status", "--watch"), "")
		case signIn:
			err = a.signIn(ctx, wanted.arg)
		case nothing, connect, disconnect, switchProfile, signOut, setAutostart, setConnectAtLaunch, quit:
		}
		if err != nil {
			a.post(ctx, func() {
				a.refuse(ctx, err)
				a.draw(ctx)
			})
		}
	})
}

// causeway is a command line of the command line program.
func (a *app) causeway(args ...string) []string {
	return append([]string{a.cli, "--socket", a.socket}, args...)
}

// signIn leaves the choice of the flow, by browser, by code or by token, to
// causeway login, which knows what the deployment offers.
func (a *app) signIn(ctx context.Context, url string) error {
	if url == "" {
		return a.desktop.terminal(ctx, a.causeway("login"), "Address of your deployment:")
	}
	return a.desktop.terminal(ctx, a.causeway("login", url), "")
}

func (a *app) setAutostart() {
	if err := a.desktop.setAutostart(!a.in.settings.autostart); err != nil {
		a.in.refused = faultOf(fmt.Errorf("change the start at login: %w", err))
	}
	a.in.settings.autostart = a.desktop.autostart()
}

func (a *app) setConnectAtLaunch() {
	next := a.in.settings
	next.connectAtLaunch = !next.connectAtLaunch
	if err := writeSettings(a.settings, next); err != nil {
		a.in.refused = faultOf(err)
		return
	}
	a.in.settings = next
}
