package cli

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
)

const (
	terminalPort = 2
	// pickTerminal is --reconnect without an ID, newTerminal one that is none.
	pickTerminal, newTerminal = "pick", "new"

	// signPause is the time between two empty messages. Who sends such is given up
	// when they stay away, and is no viewer any more.
	signPause = 15 * time.Second
)

// reconnectHelp is a part of the help of causeway ssh.
const reconnectHelp = `With --reconnect it opens a terminal that goes on in the workspace when the
connection ends: without OpenSSH, by itself attached again after an outage, and
later by its ID from any machine. Without =ID it lets you choose among those that
are there (see: causeway terminals), with =new it makes another. Enter, then ~.
detaches and leaves it running, for five minutes unless its agent was told
otherwise, and for a day after an outage; Enter, then ~~ types a tilde.
It exits with 0 when the program has ended or goes on without you, and with 7 when
an outage has been, and the terminal is not there any more.`

// shownReset leaves a terminal as shells expect one, whatever ran in it.
// What leaves the alternate screen comes before it, and only from there: it puts
// the cursor back to where it was when that was last entered.
const shownReset = "\x1b[!p\x1b[?1;9;1000;1001;1002;1003;1004;1005;1006;1015;2004l\x1b[?7;25h\x1b[<16u\x1b[>4m\x1b>\x1b[0m\x1b(B\x1b[0 q\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\r\n\x1b[J"

// addReconnect makes a command of OpenSSH's attach to terminals as well.
func (a *app) addReconnect(command *cobra.Command) {
	command.Flags().String("reconnect", "", "open or attach to a terminal that outlives its connection; =ID or =new, or choose one")
	command.Flags().Lookup("reconnect").NoOptDefVal = pickTerminal
	command.Long += "\n\n" + reconnectHelp
	command.Example += "\n  causeway ssh --reconnect myws"
	run := command.RunE
	command.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := cmd.Flags().GetString("reconnect")
		if err != nil || id == "" {
			return errors.Join(err, run(cmd, args))
		}
		remote := args[1:]
		if len(remote) > 0 && remote[0] == "--" {
			remote = remote[1:]
		}
		if cmd.Flags().Changed("option") {
			return &usageError{cause: "ssh --reconnect: options are for OpenSSH, which is not used", remedy: "leave out --option"}
		}
		_, name := cutUser(args[0])
		return a.reconnect(cmd.Context(), name, id, remote)
	}
}

// reconnect is causeway ssh --reconnect.
func (a *app) reconnect(ctx context.Context, name, id string, remote []string) error {
	console, ok := a.tty()
	if !ok {
		return &usageError{cause: "ssh --reconnect: input and output are no terminal", remedy: "without --reconnect it runs a command for a program"}
	}
	port, err := a.reach(ctx, name, "attach to a terminal of", terminalPort)
	if err != nil {
		return err
	}
	api := *port
	api.port = agentHTTPPort
	wanted := uuid.New()
	full, parseErr := uuid.Parse(id)
	restore, err := console.raw()
	if err != nil {
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	keys := keyboard(ctx, console)
	finish := func(err error) error {
		if failed := restore(); failed != nil {
			err = errors.Join(err, fmt.Errorf("restore the terminal: %w", failed))
		}
		return err
	}
	switch {
	case id == newTerminal:
	case parseErr == nil:
		wanted = full // a new terminal has the id that was asked for
	default:
		found, err := api.terminals(ctx)
		if err != nil {
			return finish(err)
		}
		chosen := terminalJSON{ID: wanted}
		switch {
		case id != pickTerminal:
			chosen, err = terminalOf(found, id)
		case len(found) > 0:
			chosen, err = a.pick(ctx, console, keys, &api, found)
		}
		if err != nil || chosen.ID == uuid.Nil {
			return finish(err)
		}
		wanted = chosen.ID
	}
	shown := &screenWatch{to: console}
	session := &attachment{
		app: a, console: console, shown: shown, keys: keys, port: port, api: &api,
		request: attachRequest{ID: wanted, Command: strings.Join(remote, " ")},
	}
	_, height := console.size()
	_, _ = io.WriteString(console, strings.Repeat("\r\n", height)) // what was there stays, above
	err = session.run(ctx)
	_, _ = io.WriteString(console, shown.leave()+shownReset)
	err = finish(err)
	if err == nil {
		fmt.Fprintln(a.env.Stderr, session.outcome)
	}
	return err
}

// keyboard reads what is typed until the terminal is gone. The goroutine ends
// with the process: nothing else ends a read of a terminal.
func keyboard(ctx context.Context, console io.Reader) <-chan []byte {
	keys := make(chan []byte)
	go func() {
		defer close(keys)
		for {
			buffer := make([]byte, 4096)
			count, err := console.Read(buffer)
			if err != nil {
				return
			}
			select {
			case keys <- buffer[:count]:
			case <-ctx.Done():
				return
			}
		}
	}()
	return keys
}

// attachRequest is the first message of the protocol, attachInput each other.
type attachRequest struct {
	ID            uuid.UUID
	Height, Width int
	Command       string
	Resume        bool
}

type attachInput struct {
	Data   string `json:"data,omitempty"`
	Height int    `json:"height,omitempty"`
	Width  int    `json:"width,omitempty"`
}

// attachment is a terminal that is shown, over one connection after the other.
type attachment struct {
	app     *app
	console tty
	shown   *screenWatch // the console, for what comes from the workspace
	keys    <-chan []byte
	port    *agentPort // of terminals
	api     *agentPort // of the agent's HTTP API
	request attachRequest
	escape  escapeKeys
	cut     bool // the connection broke off: the agent has not closed it
	brief   int  // connections in a row that were, as those are that the agent refuses
	outcome string
}

// errDetached, errOver, errGone: the user has left; the terminal has ended; nobody
// knows whether it has, or the agent is another.
var (
	errDetached = errors.New("detached")
	errOver     = errors.New("ended")
	errGone     = errors.New("gone")
)

// run shows the terminal until it ends or the user leaves.
func (s *attachment) run(ctx context.Context) error {
	changes, stop := s.console.resized()
	defer stop()
	name := agentName(s.port.agent)
	conn, err := s.connect(ctx)
	for err == nil {
		began := time.Now()
		err = s.show(ctx, conn, changes)
		if s.brief++; time.Since(began) >= briefLimit {
			s.brief = 0
		}
		conn.Close()
		if err == nil {
			conn, err = s.comeBack(ctx, changes)
		}
	}
	switch {
	case errors.Is(err, errDetached):
		s.outcome = fmt.Sprintf("detached from terminal %s of %s; to attach again: causeway ssh --reconnect=%s %s", s.request.ID, name, s.request.ID, quote(name))
		return nil
	case errors.Is(err, errOver):
		s.outcome = fmt.Sprintf("terminal %s of %s has ended", s.request.ID, name)
		return nil
	case errors.Is(err, errGone):
		return &localapi.Error{
			Code:   localapi.CodeNotFound,
			Cause:  fmt.Sprintf("terminal %s of %s is not there any more: it has ended, or the workspace's agent was started anew", s.request.ID, name),
			Remedy: "for another one: causeway ssh --reconnect=new " + quote(name),
		}
	}
	return err
}

// say tells something in the middle of a screen that the next one replaces.
func (s *attachment) say(text string) {
	fmt.Fprintf(s.app.env.Stderr, "\r\n\x1b[0mcauseway: %s\r\n", text)
}

// connect attaches.
func (s *attachment) connect(ctx context.Context) (net.Conn, error) {
	conn, err := s.port.dial(ctx)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = noticeSilence(tcp) // without, an outage is noticed later
	}
	s.request.Width, s.request.Height = s.console.size()
	request, err := json.Marshal(s.request)
	if err == nil && len(request) >= 1<<16 {
		err = &usageError{cause: "ssh --reconnect: the command is longer than 64 KiB"}
	}
	if err == nil {
		_, err = conn.Write(append(binary.LittleEndian.AppendUint16(nil, uint16(len(request))), request...))
	}
	if err != nil {
		conn.Close()
		return nil, s.port.failed(err)
	}
	return conn, nil
}

// show passes bytes on until the connection ends; nil means by itself.
func (s *attachment) show(ctx context.Context, conn net.Conn, changes <-chan struct{}) error {
	ended := make(chan error, 1)
	go func() {
		count, err := io.Copy(s.shown, conn)
		if count > 0 {
			s.request.Resume = true
		}
		ended <- err
	}()
	s.cut = false
	defer func() {
		conn.Close()
		if <-ended != nil {
			s.cut = true
		}
	}()
	output := json.NewEncoder(conn)
	signs := time.NewTicker(signPause)
	defer signs.Stop()
	for {
		var input attachInput
		sign := false
		select {
		case <-signs.C:
			sign = true
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			ended <- err
			return nil
		case <-changes:
			input.Width, input.Height = s.console.size()
		case typed, ok := <-s.keys:
			if !ok {
				return errDetached // the terminal is gone
			}
			var left bool
			if input.Data, left = s.escape.filter(typed); left {
				return errDetached
			}
		}
		if (sign || input != (attachInput{})) && output.Encode(input) != nil {
			s.cut = true // who reads may be told of an end: the system tells of a break once
			return nil
		}
	}
}

// escapeKeys finds the keys that are for us in what is typed, as OpenSSH does:
// a tilde at the beginning of a line.
type escapeKeys struct {
	middle bool   // of a line
	tilde  bool   // was typed at the beginning of one
	rest   []byte // of a character that has not all come yet
}

// filter gives what is to be passed on, and says whether the user leaves.
func (e *escapeKeys) filter(typed []byte) (data string, leave bool) {
	out := e.rest
	for _, b := range typed {
		if e.tilde {
			e.tilde = false
			if b == '.' {
				return string(out), true
			}
			out = append(out, '~')
			e.middle = true
			if b == '~' {
				continue
			}
		}
		if b == '~' && !e.middle {
			e.tilde = true
			continue
		}
		e.middle = b != '\r' && b != '\n'
		out = append(out, b)
	}
	whole := len(out)
	for back := 1; back < utf8.UTFMax && back <= len(out); back++ {
		if tail := out[len(out)-back:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				whole -= back
			}
			break
		}
	}
	e.rest = append([]byte(nil), out[whole:]...)
	return string(out[:whole]), false
}
