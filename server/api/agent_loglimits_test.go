package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

// TestFollowersFallBehind holds that who is slow loses nothing and keeps no more
// than so many batches.
func TestFollowersFallBehind(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	r.log(agent, logBatch(testSource, 0, 1))
	state := r.api.reports.acquire(t.Context(), alice.agent.ID)
	defer r.api.reports.release(state)
	const count = 10 * followerBatches
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow, waits := make(chan struct{}), make(chan struct{}, 1)
	var seen []logBody
	ended := make(chan error, 1)
	go func() {
		ended <- r.api.follow(ctx, state, 0, func(lines []store.LogLine) error {
			if len(seen) == 1 {
				waits <- struct{}{}
				<-slow
			}
			if seen = append(seen, describeLogs(lines)...); len(seen) == count {
				cancel()
			}
			return nil
		})
	}()
	eventually(t, "a follower", state.logs.followed)
	for i := 1; i < count; i++ {
		r.log(agent, logBatch(testSource, i, 1))
	}
	<-waits
	state.logs.mu.Lock()
	for follower := range state.logs.followers {
		if len(follower.batches) != followerBatches || !follower.behind.Load() {
			t.Errorf("%d batches wait, behind %v", len(follower.batches), follower.behind.Load())
		}
	}
	state.logs.mu.Unlock()
	close(slow)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	inOrder(t, seen, 0, count)
}

func TestFollowEnds(t *testing.T) {
	tests := map[string]struct {
		end    func(r *rig, p person) int
		reason string
	}{
		"agent deleted": {func(r *rig, p person) int {
			status, _ := r.call("DELETE", "/api/v2/workspaceagents/"+p.agent.ID.String(), p.token, "")
			return status
		}, errAgentGone.Text},
		"token revoked": {func(r *rig, p person) int {
			status, _ := r.call("DELETE", "/api/v2/users/me/keys/"+p.tokenID, p.token, "")
			return status
		}, errTokenEnded.Text},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			alice := r.person("alice")
			follower := r.follow(alice, "?follow")
			eventually(t, "a follower", func() bool {
				state := r.api.reports.acquire(t.Context(), alice.agent.ID)
				defer r.api.reports.release(state)
				return state.logs.followed()
			})
			if status := test.end(r, alice); status != http.StatusNoContent {
				t.Fatal(status)
			}
			if code, reason := closeStatus(t, follower.conn); code != websocket.StatusGoingAway || reason != test.reason {
				t.Errorf("closed with %v %q", code, reason)
			}
			eventually(t, "no connection", func() bool { return r.api.live.count() == 0 })
		})
	}
}

// TestFollowWithoutWebsocket is curl.
func TestFollowWithoutWebsocket(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	r.log(agent, logBatch(testSource, 0, 2))
	request, err := http.NewRequestWithContext(t.Context(), "GET", r.url+r.logPath(alice, "?follow"), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(tokenHeader, alice.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%v, %v", response, err)
	}
	defer response.Body.Close()
	scanner := bufio.NewScanner(response.Body)
	var seen []logBody
	for scanner.Scan() {
		var line logBody
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, line); len(seen) == 2 {
			r.log(agent, logBatch(testSource, 2, 1))
		}
		if len(seen) == 3 {
			break
		}
	}
	inOrder(t, seen, 0, 3)
}

// TestFollowerThatNeverReads is ended, and its agent goes on.
func TestFollowerThatNeverReads(t *testing.T) {
	r := newRig(t)
	r.api.writeLimit = 300 * time.Millisecond
	alice := r.person("alice")
	agent := r.report(alice)
	// JSON makes six bytes of each: more than the buffers of a connection hold.
	hostile := &agentv2.BatchCreateLogsRequest{LogSourceId: testSource[:], Logs: []*agentv2.Log{{CreatedAt: second(0), Output: strings.Repeat("\x01", store.LogsMost)}}}
	for run := range 2 {
		r.lifecycle(agent, agentv2.Lifecycle_CREATED, run)
		if r.log(agent, hostile) {
			t.Fatal("no room")
		}
	}
	for _, upgrade := range []bool{true, false} {
		if upgrade {
			r.follow(alice, "?follow")
		} else {
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\n\r\n", r.logPath(alice, "?follow"), tokenHeader, alice.token)
		}
		eventually(t, "a follower", func() bool { return r.api.live.count() == 2 })
		eventually(t, "no follower", func() bool { return r.api.live.count() == 1 })
	}
	r.lifecycle(agent, agentv2.Lifecycle_CREATED, 5)
	if r.log(agent, logBatch(testSource, 0, 1)) {
		t.Error("the agent has no room")
	}
}

// TestFollowOutlivesTheReadLimit: the server's limit for reading a request must
// not end an answer that goes on.
func TestFollowOutlivesTheReadLimit(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	limited := httptest.NewUnstartedServer(r.api)
	limited.Config.ReadTimeout = 100 * time.Millisecond
	limited.Start()
	defer limited.Close()
	request, err := http.NewRequestWithContext(t.Context(), "GET", limited.URL+r.logPath(alice, "?follow"), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(tokenHeader, alice.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	time.Sleep(4 * limited.Config.ReadTimeout)
	r.log(agent, logBatch(testSource, 0, 1))
	if scanner := bufio.NewScanner(response.Body); !scanner.Scan() || !strings.Contains(scanner.Text(), "line 0") {
		t.Errorf("%q, %v", scanner.Text(), scanner.Err())
	}
}

// TestFollowerJoinsWhileLinesCome holds that what is stored while a follower
// reads the history, and so is both in it and among what comes, is sent once.
func TestFollowerJoinsWhileLinesCome(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	r.log(agent, logBatch(testSource, 0, 1))
	state := r.api.reports.acquire(t.Context(), alice.agent.ID)
	defer r.api.reports.release(state)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []logBody
	var last sync.WaitGroup
	err := r.api.follow(ctx, state, 0, func(lines []store.LogLine) error {
		if seen = append(seen, describeLogs(lines)...); len(seen) == 1 {
			r.log(agent, logBatch(testSource, 1, 3))
			r.log(agent, logBatch(testSource, 4, 1))
		}
		if len(seen) == 5 {
			last.Go(func() { r.log(agent, logBatch(testSource, 5, 1)) })
		}
		if len(seen) > 5 {
			cancel()
		}
		return nil
	})
	last.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	inOrder(t, seen, 0, 6)
}
