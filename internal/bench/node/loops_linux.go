package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/control"
	cwproto "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/workspace"
)

// runLoops keeps control connections as desktops do, with nothing behind them.
// It prints "up" and "down" with the loop's number and the time, and obeys
// "kick" lines.
func runLoops(ctx context.Context, flags *flag.FlagSet, args []string) error {
	server := flags.String("server", "", "URL of the control plane")
	tokens := flags.String("tokens", "", "of users, comma-separated; the loops are shared out among them")
	count := flags.Int("count", 1, "how many loops")
	if err := flags.Parse(args); err != nil {
		return err
	}
	target, err := url.Parse(*server)
	if err != nil {
		return err
	}
	var users []account
	for token := range strings.SplitSeq(*tokens, ",") {
		id, err := whoAmI(ctx, target, token)
		if err != nil {
			return err
		}
		users = append(users, account{token, id})
	}
	var running sync.WaitGroup
	defer running.Wait()
	loops := make([]*control.Loop, *count)
	for i := range loops {
		user := users[i%len(users)]
		loops[i] = &control.Loop{
			// A client of its own for each: connections are not shared between desktops.
			Dialer: &control.Dialer{
				URL: target, Path: control.UserPath, Version: cwproto.V23, Token: func() string { return user.token },
				HTTP: &http.Client{Transport: &http.Transport{}},
			},
			Coordinatee: idle{}, OwnerID: user.id, RelayMap: func(cwproto.RelayMap) {},
			Workspaces: func(*workspace.State, workspace.Diff) error { return nil },
			Connected:  func(connected bool, err error) { say(i, connected, err) },
		}
		running.Go(func() { _ = loops[i].Run(ctx) })
	}
	fmt.Fprintln(os.Stderr, "ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "kick" {
			for _, loop := range loops {
				loop.Kick()
			}
		}
	}
	<-ctx.Done()
	return nil
}

type account struct {
	token string
	id    uuid.UUID
}

// say prints one change; standard output is a pipe that the bench reads.
func say(loop int, connected bool, err error) {
	stdout.Lock()
	defer stdout.Unlock()
	if connected {
		fmt.Printf("up %d %d\n", loop, time.Now().UnixNano())
	} else {
		fmt.Printf("down %d %d %q\n", loop, time.Now().UnixNano(), fmt.Sprint(err))
	}
}

func whoAmI(ctx context.Context, server *url.URL, token string) (uuid.UUID, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.JoinPath("/api/v2/users/me").String(), nil)
	if err != nil {
		return uuid.Nil, err
	}
	request.Header.Set(control.TokenHeader, token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return uuid.Nil, err
	}
	defer response.Body.Close()
	var me struct {
		ID uuid.UUID `json:"id"`
	}
	if err := json.NewDecoder(response.Body).Decode(&me); err != nil || me.ID == uuid.Nil {
		return uuid.Nil, fmt.Errorf("read who we are: %w", errors.Join(err, errors.New(response.Status)))
	}
	return me.ID, nil
}
