package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"
)

// picker lets the user choose among terminals.
type picker struct {
	app      *app
	api      *agentPort
	found    []terminalJSON
	selected int
	note     string
}

// pick is the terminal that the user chooses, one with a new id, or none.
func (a *app) pick(ctx context.Context, console tty, keys <-chan []byte, api *agentPort, found []terminalJSON) (terminalJSON, error) {
	p := &picker{app: a, api: api, found: found}
	if _, err := io.WriteString(console, enterScreen); err != nil {
		return terminalJSON{}, err
	}
	defer func() { _, _ = io.WriteString(console, leaveScreen) }() // it may be gone
	changes, stop := console.resized()
	defer stop()
	view := screen{tty: console, restore: func() error { return nil }}
	for {
		if err := view.draw(p.lines()); err != nil {
			return terminalJSON{}, err
		}
		select {
		case <-ctx.Done():
			return terminalJSON{}, ctx.Err()
		case <-changes:
			view.last = "" // shown anew
		case typed, ok := <-keys:
			if !ok {
				return terminalJSON{}, nil
			}
			for _, key := range keysOf(typed) {
				if chosen, done := p.key(ctx, key); done {
					return chosen, nil
				}
			}
		}
	}
}

// key does what a key means.
func (p *picker) key(ctx context.Context, key string) (chosen terminalJSON, done bool) {
	p.note = ""
	switch key {
	case "q":
		return terminalJSON{}, true
	case "n":
		return terminalJSON{ID: uuid.New()}, true
	case "up":
		p.selected = max(0, p.selected-1)
	case "down":
		p.selected = min(len(p.found)-1, p.selected+1)
	case "\r", "\n":
		if len(p.found) > 0 {
			return p.found[p.selected], true
		}
	case "x":
		p.kill(ctx)
	}
	return terminalJSON{}, false
}

func (p *picker) kill(ctx context.Context) {
	if len(p.found) == 0 {
		return
	}
	one := p.found[p.selected]
	if err := p.api.killTerminal(ctx, one.ID); err != nil {
		p.note = printable(err.Error())
		return
	}
	p.note = "ended " + one.short()
	p.found = slices.DeleteFunc(p.found, func(each terminalJSON) bool { return each.ID == one.ID })
	p.selected = max(0, min(p.selected, len(p.found)-1))
}

func (p *picker) lines() []string {
	lines := []string{"Terminals of " + printable(agentName(p.api.agent)), ""}
	for i, each := range p.found {
		mark := "  "
		if i == p.selected {
			mark = "> "
		}
		fields := p.app.terminalFields(each)
		lines = append(lines, fmt.Sprintf("%s%s  %6s  %7s  %-9s  %s", mark, fields[0], fields[1], fields[2], count(each.Viewers, "viewer"), fields[4]))
	}
	return append(lines, "", "Enter attach  n new  x end  arrows select  q quit", p.note)
}
