package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

const (
	// ageEvery is how often what the screen says of ages is made anew.
	ageEvery = time.Second
	// noteFor is how long the outcome of a key stays in the place of the keys.
	noteFor = 4 * time.Second
)

// watcher is one run of the full-screen view. Its loop alone has the board and
// the screen; all else sends it what to do.
type watcher struct {
	app    *app
	flags  statusFlags
	screen *screen
	board  board
	news   chan func() error
	more   chan struct{} // the next key may be read
	noted  time.Time
}

// errQuit ends the view as its user wants it.
var errQuit = errors.New("quit")

func (a *app) watchScreen(ctx context.Context, flags statusFlags, terminal tty) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watcher{
		app: a, flags: flags, screen: &screen{tty: terminal}, news: make(chan func() error), more: make(chan struct{}),
		board: board{app: a, style: a.style(a.env.Stdout)},
	}
	if err := w.screen.enter(); err != nil {
		return err
	}
	// Also when this function panics.
	defer func() { err = errors.Join(err, w.screen.leave()) }()
	changes, stop := terminal.resized()
	defer stop()
	go w.keys(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		w.follow(ctx)
	}()
	defer func() { <-followed }()
	defer cancel()
	ticker := time.NewTicker(ageEvery)
	defer ticker.Stop()
	for {
		width, height := terminal.size()
		if err := w.screen.draw(w.board.render(width, height)); err != nil {
			return fmt.Errorf("write to the terminal: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		case <-ticker.C:
			if a.now().Sub(w.noted) > noteFor {
				w.board.note = ""
			}
		case do := <-w.news:
			if err := do(); errors.Is(err, errQuit) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

// tell has the loop do something, and says whether it will.
func (w *watcher) tell(ctx context.Context, do func() error) bool {
	select {
	case w.news <- do:
		return true
	case <-ctx.Done():
		return false
	}
}

// follow tells the loop of each status, and of the daemon's absence.
func (w *watcher) follow(ctx context.Context) {
	err := w.app.follow(ctx, func(status *localv1.Status) error {
		w.tell(ctx, func() error {
			w.board.status, w.board.away = shown(w.flags.filter(status)), ""
			return nil
		})
		return nil
	}, func(away *localapi.Error) error {
		w.tell(ctx, func() error {
			w.board.away = printable(away.Cause) + suffixed("; remedy: ", printable(away.Remedy))
			return nil
		})
		return nil
	})
	if err != nil {
		w.tell(ctx, func() error { return err })
	}
}

// keys reads while the loop wants keys, so that none is taken from a program
// that has the terminal meanwhile.
func (w *watcher) keys(ctx context.Context) {
	input := make([]byte, 64)
	for {
		n, err := w.screen.tty.Read(input)
		keys := keysOf(input[:n])
		if err != nil {
			keys = append(keys, "q") // the terminal is gone
		}
		ok := w.tell(ctx, func() error {
			for _, key := range keys {
				if err := w.key(ctx, key); err != nil {
					return err
				}
			}
			if w.screen.restore != nil {
				go func() { w.goOn(ctx) }()
			}
			return nil
		})
		if !ok || err != nil {
			return
		}
		select {
		case <-w.more:
		case <-ctx.Done():
			return
		}
	}
}

// goOn has the next key read.
func (w *watcher) goOn(ctx context.Context) {
	select {
	case w.more <- struct{}{}:
	case <-ctx.Done():
	}
}

func (w *watcher) say(note string) {
	w.board.note, w.noted = printable(note), w.app.now()
}

func (w *watcher) key(ctx context.Context, key string) error {
	switch key {
	case "q":
		return errQuit
	case "up":
		w.board = w.board.moved(-1)
	case "down":
		w.board = w.board.moved(1)
	case "u":
		w.ask(ctx, "connecting ...", "connecting", func(ctx context.Context, client *localapi.Client) error {
			_, err := call(ctx, w.app, workLimit, client.Up, &localv1.UpRequest{})
			return err
		})
	case "d":
		w.ask(ctx, "disconnecting ...", "disconnected", func(ctx context.Context, client *localapi.Client) error {
			_, err := call(ctx, w.app, workLimit, client.Down, &localv1.DownRequest{Reason: "causeway status --watch"})
			return err
		})
	case "r":
		w.ask(ctx, "repairing names ...", "names answer on this machine", func(ctx context.Context, client *localapi.Client) error {
			_, err := w.app.repair(ctx, client, false)
			return err
		})
	case "c":
		return w.copyName()
	case "s":
		w.ssh(ctx)
	}
	return nil
}

// ask has the daemon do something in the background, and notes what came of it.
func (w *watcher) ask(ctx context.Context, doing, done string, what func(context.Context, *localapi.Client) error) {
	w.say(doing)
	go func() {
		client, err := w.app.dial(ctx)
		if err == nil {
			err = what(ctx, client)
			client.Close()
		}
		w.tell(ctx, func() error {
			w.say(done)
			if err != nil {
				w.say(err.Error())
			}
			return nil
		})
	}()
}

// copyName gives the name to the terminal's clipboard, also across ssh (OSC 52).
func (w *watcher) copyName() error {
	agent := w.board.chosen()
	if agent == nil {
		w.say("there is no name to copy")
		return nil
	}
	w.say("copied " + agentName(agent) + ", if the terminal allows it")
	_, err := io.WriteString(w.screen.tty, "\x1b]52;c;"+base64.StdEncoding.EncodeToString([]byte(agentName(agent)))+"\a")
	return err
}

// ssh hands the terminal over to ssh until that ends.
func (w *watcher) ssh(ctx context.Context) {
	agent := w.board.chosen()
	if agent == nil || len(agent.GetNames()) == 0 {
		w.say("there is no name to open a shell at")
		return
	}
	program, err := openSSH("ssh")
	var line []string
	if err == nil {
		line, err = w.app.sshLine(ctx, "", agentName(agent), nil, nil)
	}
	if err == nil {
		err = w.screen.leave()
	}
	if err != nil {
		w.say(err.Error())
		return
	}
	child := exec.CommandContext(ctx, program, line[1:]...)
	child.Stdin, child.Stdout, child.Stderr = w.app.env.Stdin, w.app.env.Stdout, w.app.env.Stderr
	go func() {
		err := child.Run()
		w.tell(ctx, func() error {
			w.say("ssh to " + agentName(agent) + " has ended")
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				w.say("run ssh: " + err.Error())
			}
			if err := w.screen.enter(); err != nil {
				return err
			}
			go func() { w.goOn(ctx) }()
			return nil
		})
	}()
}
