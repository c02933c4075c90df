package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

// shape lists the paths of all members of a JSON value with their types.
func shape(into map[string]bool, path string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, member := range value {
			shape(into, strings.TrimPrefix(path+"."+key, "."), member)
		}
	case []any:
		into[path+" list"] = true
		for _, element := range value {
			shape(into, path+"[]", element)
		}
	case nil:
		into[path+" null"] = true
	case string:
		into[path+" text"] = true
	case float64:
		into[path+" number"] = true
	case bool:
		into[path+" truth"] = true
	}
}

// everything is an agent that has reported something of each kind.
func everything(t *testing.T) *reporting {
	r := newReporting(t)
	ctx, id := t.Context(), r.agent.ID
	_, stepped := r.store.AddLifecycle(ctx, id, store.LifecycleStarting, reportTime)
	_, ready := r.store.AddLifecycle(ctx, id, store.LifecycleReady, reportTime.Add(time.Second))
	ended := uuid.New()
	for _, err := range []error{
		stepped, ready, r.store.SetStartup(ctx, id, "v9", "/home/alice", []string{"envbox"}),
		r.store.AddTiming(ctx, id, store.ScriptTiming{Script: define.ScriptID(id, "install"), Start: reportTime, End: reportTime}),
		r.store.OpenConnection(ctx, id, store.AgentConnection{ID: ended, Type: 1, IP: "127.0.0.1", ConnectedAt: reportTime}),
		r.store.CloseConnection(ctx, id, store.AgentConnection{ID: ended, DisconnectedAt: reportTime, Code: 7, Reason: "x"}),
		r.store.OpenConnection(ctx, id, store.AgentConnection{ID: uuid.New(), Type: 1, IP: "127.0.0.1", ConnectedAt: reportTime}),
		r.store.SaveReports(ctx, []store.AgentValue{
			{Agent: id, Kind: store.ValueMetadata, Name: "cpu", Value: json.RawMessage(`{"value":"1","collected_at":"2026-01-02T03:04:05Z"}`)},
			{Agent: id, Kind: store.ValueMetadata, Name: "disk", Value: json.RawMessage(`{"value":"1","collected_at":"2026-01-02T03:04:05Z"}`)},
			{Agent: id, Kind: store.ValueResources, Value: json.RawMessage(`[{"collected_at":"2026-01-02T03:04:04Z"},
				{"collected_at":"2026-01-02T03:04:05Z","memory":{"used":3000000,"total":8000000},"volumes":[{"volume":"/home\u0007","used":1000000,"total":2000000}]}]`)},
		}, []store.AgentStats{{Agent: id, At: time.Now()}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.logs(0, 1)
	return r
}

// TestShapeOfJSON holds every member that programs may read, and its type. A
// member that goes, or that changes its type, is an incompatible change.
func TestShapeOfJSON(t *testing.T) {
	r := everything(t)
	const (
		agent      = "agent.created_at text, agent.first_connected_at null, agent.id text, agent.name text, agent.owner text, agent.workspace text"
		user       = "user.admin truth, user.created_at text, user.email text, user.id text, user.name text"
		connection = "connected_at text, disconnected_at null, disconnected_at text, id text, ip text, reason text, status_code null, status_code number, type text"
		stats      = "at text, connection_count number, connection_median_latency_ms number, rx_bytes number, rx_packets number, " +
			"session_count_jetbrains number, session_count_reconnecting_pty number, session_count_ssh number, session_count_vscode number, tx_bytes number, tx_packets number"
		line = "created_at text, id number, level text, output text, source text, source_id text"
		git  = "host text, updated_at text, username text"
	)
	within := func(path, members string) string {
		parts := strings.Split(members, ", ")
		for i := range parts {
			parts[i] = path + "." + parts[i]
		}
		return strings.Join(parts, ", ")
	}
	for _, test := range []struct{ typed, args, want string }{
		{"", "agent list", "agents list, " + within("agents[]", strings.ReplaceAll(agent, "agent.", "")+", connected null")},
		{"", "agent status alice/myws/main", agent + ", connected null, agent_version text, apps list, apps[].health text, apps[].id text, apps[].slug text, expanded_directory text, " +
			"lifecycle list, lifecycle[].changed_at text, lifecycle[].run number, lifecycle[].state text, lifecycle_state text, " +
			"logs_length number, logs_lines number, logs_overflowed truth, metadata list, metadata[].collected_at text, metadata[].display_name text, metadata[].error text, metadata[].key text, metadata[].value text, " +
			"open_connections list, " + within("open_connections[]", "connected_at text, disconnected_at null, id text, ip text, reason text, status_code null, type text") + ", ready_at text, " +
			"resources.collected_at text, resources.memory.total number, resources.memory.used number, resources.volumes list, resources.volumes[].total number, resources.volumes[].used number, resources.volumes[].volume text, " +
			"scripts list, scripts[].ended_at text, scripts[].exit_code number, scripts[].script text, scripts[].stage text, scripts[].started_at text, scripts[].status text, scripts_not_reported list, scripts_not_reported[].script text, scripts_not_reported[].stage text, started_at text, " +
			within("stats", stats) + ", subsystems list, subsystems[] text"},
		{"", "agent connections alice/myws/main", "connections list, " + within("connections[]", connection)},
		{"", "agent stats alice/myws/main", "stats list, " + within("stats[]", stats)},
		{"", "agent logs alice/myws/main", "last_id number, logs list, " + within("logs[]", line) + ", overflowed truth"},
		{"", "git key alice", "created_at text, public_key text, updated_at text, " + user},
		{"password", "git set alice github.com --username al --stdin", within("credential", git) + ", " + user},
		{"", "git list alice", "credentials list, " + within("credentials[]", git)},
		{"", "banner set hello", "banners list, banners[].background_color text, banners[].enabled truth, banners[].message text"},
		{"version: 1\nsecrets: [{name: a, env: A}]", "agent configure alice/myws/main -", agent + ", changed truth, revision number, secrets list, secrets[].name text, secrets[].set truth, secrets[].updated_at text"},
		{"x", "agent secret set alice/myws/main a", agent + ", changed truth, secret text, set truth"},
	} {
		got := typed(t, test.typed, append(strings.Fields(test.args), "--json", "--data-dir", r.dir)...)
		var body any
		if err := json.Unmarshal([]byte(got.stdout), &body); err != nil || got.code != 0 {
			t.Fatalf("%s: %v in %+v", test.args, err, got)
		}
		found := map[string]bool{}
		shape(found, "", body)
		want := map[string]bool{"version number": true}
		for _, part := range strings.Split(test.want, ", ") {
			want[part] = true
		}
		if fmt.Sprint(body.(map[string]any)["version"]) != fmt.Sprint(outputVersion) {
			t.Errorf("%s: version of %s", test.args, got.stdout)
		}
		if !maps.Equal(found, want) {
			t.Errorf("%s has\n%s\nwant\n%s", test.args, strings.Join(slices.Sorted(maps.Keys(found)), ", "), strings.Join(slices.Sorted(maps.Keys(want)), ", "))
		}
	}
}
