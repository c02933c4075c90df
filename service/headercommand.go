package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// headerLimit is how long the header command may take: a request waits for it.
	headerLimit = 10 * time.Second
	// headerGrace is how long its children may keep its output open after it.
	headerGrace = time.Second
)

// headerCommand runs the command of the settings file: an absolute path and
// arguments, without a shell. It prints Name=Value on a line for each header.
// Nothing that it prints shows in an error.
func headerCommand(ctx context.Context, line string, access *url.URL) (Headers, error) {
	ctx, cancel := context.WithTimeout(ctx, headerLimit)
	defer cancel()
	words := strings.Fields(line)
	program := words[0]
	if err := checkProgram(program); err != nil {
		return nil, fmt.Errorf("run header-command %s: %w", program, err)
	}
	command := exec.CommandContext(ctx, program, words[1:]...)
	command.Env = append(os.Environ(), "CAUSEWAY_URL="+access.String())
	command.Dir = "/"
	command.WaitDelay = headerGrace
	var output limited
	command.Stdout = &output
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("run header-command %s: not done after %s", program, headerLimit)
	case output.over:
		return nil, fmt.Errorf("run header-command %s: %w", program, errTooMuch) // and not the signal that ended it
	case err != nil:
		return nil, fmt.Errorf("run header-command %s: %w", program, err)
	}
	headers, err := parseHeaders(output.taken.String())
	if err != nil {
		return nil, fmt.Errorf("run header-command %s: %w", program, err)
	}
	return headers, nil
}

// limited takes at most maxHeaderBytes twice over; more is an error.
// It has nothing of the buffer's but Write, for io.Copy prefers ReadFrom.
type limited struct {
	taken bytes.Buffer
	over  bool
}

var errTooMuch = errors.New("it prints too much")

func (l *limited) Write(data []byte) (int, error) {
	if l.taken.Len()+len(data) > 2*maxHeaderBytes {
		l.over = true
		return 0, errTooMuch
	}
	return l.taken.Write(data)
}

// parseHeaders takes the lines of the command. Its errors quote none.
func parseHeaders(text string) (Headers, error) {
	headers := Headers{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) == "" {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found {
			return nil, fmt.Errorf("line %d is not Name=Value", number)
		}
		if err := headers.add(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return headers, nil
}

// allHeaders are the profile's own and those of the machine's header command.
func (p Profile) allHeaders(ctx context.Context) (http.Header, error) {
	if p.more == nil {
		return http.Header(p.Headers), nil
	}
	more, err := p.more(ctx)
	if err != nil {
		return nil, err
	}
	all := http.Header{}
	maps.Copy(all, p.Headers)
	maps.Copy(all, more)
	return all, nil
}
