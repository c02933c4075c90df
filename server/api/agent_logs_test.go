package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

// logBatch is lines with the numbers from first, a microsecond apart.
func logBatch(source uuid.UUID, first, count int) *agentv2.BatchCreateLogsRequest {
	request := &agentv2.BatchCreateLogsRequest{LogSourceId: source[:]}
	for i := first; i < first+count; i++ {
		at := second(0).AsTime().Add(time.Duration(i) * time.Microsecond)
		request.Logs = append(request.Logs, &agentv2.Log{CreatedAt: timestamppb.New(at), Output: fmt.Sprintf("line %d", i), Level: agentv2.Log_INFO})
	}
	return request
}

func (r *rig) log(agent agentv2.DRPCAgentClient, request *agentv2.BatchCreateLogsRequest) bool {
	r.t.Helper()
	return must[*agentv2.BatchCreateLogsResponse](r.t)(agent.BatchCreateLogs(r.t.Context(), request)).GetLogLimitExceeded()
}

func (r *rig) logPath(p person, query string) string {
	return "/api/v2/workspaceagents/" + p.agent.ID.String() + "/logs" + query
}

// follower reads lines of a websocket.
type logReader struct {
	t    *testing.T
	conn *websocket.Conn
	seen []logBody
}

func (r *rig) follow(p person, query string) *logReader {
	r.t.Helper()
	conn, _, err := r.dial(r.logPath(p, query), p.token)
	if err != nil {
		r.t.Fatal(err)
	}
	return &logReader{t: r.t, conn: conn}
}

// until reads until so many lines were seen.
func (l *logReader) until(count int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	for len(l.seen) < count {
		kind, data, err := l.conn.Read(ctx)
		if err != nil || kind != websocket.MessageText {
			l.t.Fatalf("after %d lines: %v %v", len(l.seen), kind, err)
		}
		var lines []logBody
		if err := json.Unmarshal(data, &lines); err != nil {
			l.t.Fatal(err)
		}
		l.seen = append(l.seen, lines...)
	}
}

// inOrder holds that each line came once and in order.
func inOrder(t *testing.T, lines []logBody, first, count int) {
	t.Helper()
	if len(lines) != count {
		t.Fatalf("%d lines, want %d", len(lines), count)
	}
	for i, line := range lines {
		if line.Output != fmt.Sprintf("line %d", first+i) || line.ID != lines[0].ID+int64(i) {
			t.Fatalf("line %d is %+v", i, line)
		}
	}
}

func TestLogs(t *testing.T) {
	r := newRig(t)
	r.withManifest()
	alice := r.person("alice")
	agent := r.report(alice)
	r.log(agent, logBatch(testSource, 0, 3))
	r.log(agent, logBatch(testSource, 0, 3)) // again
	other := uuid.New()
	r.log(agent, &agentv2.BatchCreateLogsRequest{LogSourceId: other[:], Logs: []*agentv2.Log{
		{Level: agentv2.Log_ERROR, Output: "a\x00b"}, {Level: 99, CreatedAt: &timestamppb.Timestamp{Nanos: -1}}, {CreatedAt: timestamppb.New(time.Unix(600_000_000, 0)), Output: "  old"},
	}})
	var lines []logBody
	r.get(alice, "/logs", &lines)
	if len(lines) != 6 {
		t.Fatalf("%+v", lines)
	}
	inOrder(t, lines[:3], 0, 3)
	if lines[0].SourceID != testSource || lines[0].Level != "info" || !lines[2].CreatedAt.Equal(second(0).AsTime().Add(2*time.Microsecond)) {
		t.Errorf("%+v", lines[0])
	}
	if lines[3].Output != "a\uFFFDb" || lines[3].Level != "error" || lines[3].SourceID != other || time.Since(lines[3].CreatedAt) > time.Minute ||
		lines[4].Output != "" || lines[4].Level != "info" || lines[5].CreatedAt.Year() != 2000 || lines[5].Output != "  old" {
		t.Errorf("%+v", lines[3:])
	}
	for query, want := range map[string]string{"?after=1&before=4": "[2 3]", "?limit=1": "[1]", "?after=6": "[]", "?follow=false&after=5": "[6]"} {
		r.get(alice, "/logs"+query, &lines)
		ids := []int64{}
		for _, line := range lines {
			ids = append(ids, line.ID)
		}
		if fmt.Sprint(ids) != want {
			t.Errorf("%s: %v", query, ids)
		}
	}
	for _, query := range []string{"?after=x", "?after=-1", "?before=1.5", "?limit=many", "?follow&before=5", "?follow&limit=5"} {
		if status, raw := r.raw("GET", r.logPath(alice, query), alice.token, ""); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, status, raw)
		}
	}
	var body agentDetail
	if r.get(alice, "", &body); body.LogsLines != 6 || body.LogsLength != 18+5+5 || body.LogsOverflowed {
		t.Errorf("%+v", body)
	}
}

func TestLogLimit(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	big := func(length int) *agentv2.BatchCreateLogsRequest {
		return &agentv2.BatchCreateLogsRequest{LogSourceId: testSource[:], Logs: []*agentv2.Log{{CreatedAt: timestamppb.Now(), Output: strings.Repeat("x", length)}}}
	}
	r.lifecycle(agent, agentv2.Lifecycle_CREATED, 1)
	if r.log(agent, big(store.LogsMost)) {
		t.Error("exceeded at the limit")
	}
	if !r.log(agent, big(1)) || !r.log(agent, big(0)) {
		t.Error("not exceeded")
	}
	var body agentDetail
	if r.get(alice, "", &body); !body.LogsOverflowed || body.LogsLength != store.LogsMost {
		t.Errorf("%+v", body)
	}
	// The next run has room again, also when its logs overtake its first step.
	again := r.report(alice)
	exceeded := make(chan bool, 1)
	go func() {
		answer, err := again.BatchCreateLogs(t.Context(), logBatch(testSource, 0, 1))
		exceeded <- err != nil || answer.GetLogLimitExceeded()
	}()
	time.Sleep(200 * time.Millisecond)
	r.lifecycle(again, agentv2.Lifecycle_CREATED, 50)
	if <-exceeded {
		t.Error("the new run has no room")
	}
	// One line that nobody may have.
	bob := r.report(r.person("bob"))
	r.lifecycle(bob, agentv2.Lifecycle_CREATED, 1)
	if !r.log(bob, big(store.LogsMost+1)) {
		t.Error("not exceeded")
	}
}

// TestHostileLogs sends what no agent of ours sends; each is refused or bounded.
func TestHostileLogs(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	r.lifecycle(agent, agentv2.Lifecycle_CREATED, 1)
	if _, err := agent.BatchCreateLogs(t.Context(), &agentv2.BatchCreateLogsRequest{LogSourceId: []byte("short"), Logs: []*agentv2.Log{{}}}); err == nil {
		t.Error("a bad id was taken")
	}
	if _, err := agent.BatchCreateLogs(t.Context(), logBatch(testSource, 0, batchMost+1)); err == nil || !strings.Contains(err.Error(), "at once are more than") {
		t.Errorf("a huge batch: %v", err)
	}
	empty := &agentv2.BatchCreateLogsRequest{LogSourceId: testSource[:]}
	for range batchMost {
		empty.Logs = append(empty.Logs, &agentv2.Log{})
	}
	if !r.log(agent, empty) {
		t.Error("empty lines are free")
	}
	var body agentDetail
	if r.get(alice, "", &body); body.LogsLines != store.LogLinesMost {
		t.Errorf("%d lines", body.LogsLines)
	}
	// Text that is no UTF-8 ends the call and nothing else.
	bad := &agentv2.BatchCreateLogsRequest{LogSourceId: testSource[:], Logs: []*agentv2.Log{{Output: "\xff\xfe"}}}
	if _, err := agent.BatchCreateLogs(t.Context(), bad); err == nil {
		t.Error("bad text was taken")
	}
	// Too large for the transport: this connection ends, not the server.
	huge := &agentv2.BatchCreateLogsRequest{LogSourceId: testSource[:], Logs: []*agentv2.Log{{Output: strings.Repeat("x", 8<<20)}}}
	if _, err := agent.BatchCreateLogs(t.Context(), huge); err == nil {
		t.Error("8 MiB were taken")
	}
	if r.log(r.report(r.person("bob")), logBatch(testSource, 0, 1)) {
		t.Error("another agent has no room")
	}
}

// TestFollowLogs holds that ten thousand lines arrive whole and in order, while
// they are written and while the follower joins.
func TestFollowLogs(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	const count, each = 10_000, 100
	r.log(agent, logBatch(testSource, 0, each))
	early := r.follow(alice, "?follow")
	early.until(each)
	wrote := make(chan error, 1)
	go func() {
		for first := each; first < count; first += each {
			for range 1 + first/each%2 { // each second batch is sent again
				if _, err := agent.BatchCreateLogs(t.Context(), logBatch(testSource, first, each)); err != nil {
					wrote <- err
					return
				}
			}
		}
		wrote <- nil
	}()
	joins := []*logReader{early}
	for range 5 {
		joins = append(joins, r.follow(alice, "?follow&after=0&no_compression"))
	}
	for _, follower := range joins {
		follower.until(count)
		inOrder(t, follower.seen, 0, count)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	late := r.follow(alice, fmt.Sprintf("?follow=true&after=%d", count-10))
	late.until(10)
	inOrder(t, late.seen, count-10, 10)
	r.log(agent, logBatch(testSource, count, 1))
	late.until(11)
	inOrder(t, late.seen, count-10, 11)
	var all []logBody
	r.get(alice, "/logs", &all)
	inOrder(t, all, 0, count+1)
}

// TestFollowOverARestart goes on by the last number, with another server on the
// same database.
func TestFollowOverARestart(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	r.log(agent, logBatch(testSource, 0, 5))
	first := r.follow(alice, "?follow")
	first.until(5)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan websocket.StatusCode, 1)
	go func() {
		code, _ := closeStatus(t, first.conn)
		ended <- code
	}()
	if err := r.api.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != websocket.StatusGoingAway {
		t.Errorf("closed with %v", code)
	}
	second := newRigAt(t, r.dir, func(*Config) {})
	again := second.report(alice)
	second.log(again, logBatch(testSource, 3, 2)) // the answer was lost
	second.log(again, logBatch(testSource, 5, 5))
	follower := second.follow(alice, fmt.Sprintf("?follow&after=%d", first.seen[4].ID))
	follower.until(5)
	inOrder(t, append(first.seen, follower.seen...), 0, 10)
}
