package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

func definitionPath(agent store.Agent) string {
	return "/api/v2/workspaceagents/" + agent.ID.String() + "/definition"
}

// put sends a document with If-Match and gives status, entity tag and body.
func (r *rig) put(path, token, match, body string) (int, string, string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPut, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set(tokenHeader, token)
	if match != "" {
		request.Header.Set("If-Match", match)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return response.StatusCode, response.Header.Get("ETag"), string(raw)
}

// TestDefinitionREST: what is put is given back, without values; a change of
// another revision, a bad document and a stranger are refused.
func TestDefinitionREST(t *testing.T) {
	r := newRig(t)
	admin, alice, mallory := r.person("admin"), r.person("alice"), r.person("mallory") // the first user is one
	path := definitionPath(alice.agent)
	if status, body := r.call("GET", path, alice.token, ""); status != 200 || body["revision"] != 0.0 || body["definition"].(map[string]any)["version"] != 1.0 {
		t.Errorf("of nobody: %d %v", status, body)
	}
	status, tag, body := r.put(path, alice.token, `"0"`, "version: 1\ndirectory: ~/x\nsecrets: [{name: a, env: A, value: hunter2}, {name: b, file: f}]\n")
	if status != 200 || tag != `"1"` || !strings.Contains(body, `"updated_by":"alice"`) || !strings.Contains(body, `"name":"a","set":true`) || !strings.Contains(body, `"name":"b","set":false`) {
		t.Fatalf("%d %s %s", status, tag, body)
	}
	_, raw := r.raw("GET", path, alice.token, "")
	for _, answer := range []string{body, string(raw), r.logs.String()} {
		if strings.Contains(answer, "hunter2") || strings.Contains(answer, "aHVudGVyMg") {
			t.Errorf("a secret in %s", answer)
		}
	}
	for match, want := range map[string]int{`"0"`: 412, `"nonsense"`: 412, `W/"1"`: 412, "1": 200, `"1"`: 200, "*": 200, "": 200} {
		if status, tag, body := r.put(path, alice.token, match, "version: 1\ndirectory: ~/x\nsecrets: [{name: a, env: A}, {name: b, file: f}]\n"); status != want || status == 200 && tag != `"1"` {
			t.Errorf("If-Match %s: %d %s %s", match, status, tag, body)
		}
	}
	if status, _, body := r.put(path, alice.token, "", "version: 1\nscripts: [{name: a}]\nx: 1"); status != 400 ||
		!strings.Contains(body, `"field":"scripts[0].run"`) || !strings.Contains(body, `"field":"x","detail":"line 3: x: found an unknown key`) {
		t.Errorf("bad document: %d %s", status, body)
	}
	if status, _, body := r.put(path, alice.token, "", "version: 1\n"+strings.Repeat("#\n", define.DocumentLimit/2)); status != 413 {
		t.Errorf("large document: %d %s", status, body)
	}
	// As for all that is somebody else's: it is not there, and administrators are no
	// exception, as who writes it runs programs in the workspace.
	for _, token := range []string{mallory.token, admin.token} {
		status, _ := r.call("GET", path, token, "")
		other, _, _ := r.put(path, token, "", "version: 1")
		secret, _, _ := r.put("/api/v2/workspaceagents/"+alice.agent.ID.String()+"/secrets/a", token, "", "x")
		if status != 404 || other != 404 || secret != 404 {
			t.Errorf("a stranger: %d %d %d", status, other, secret)
		}
	}
	if status, _ := r.call("GET", path, alice.agentKey, ""); status != 401 {
		t.Errorf("an agent's token: %d", status)
	}
	if status, _ := r.call("GET", "/api/v2/workspaceagents/definition-schema", alice.token, ""); status != 200 {
		t.Errorf("schema: %d", status)
	}
}

// TestSecretsREST: a value is set and taken away by itself, and never given back.
func TestSecretsREST(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	r.put(definitionPath(alice.agent), alice.token, "", "version: 1\nsecrets: [{name: a, env: A}, {name: b, file: f}]\n")
	path := "/api/v2/workspaceagents/" + alice.agent.ID.String() + "/secrets/"
	for _, test := range []struct {
		name, value string
		status      int
	}{
		{"a", "hunter2", 200}, {"b", "hunter2\x00\xff\n", 200}, {"a", "x\x00", 400}, {"none", "x", 400}, {"a", "", 400},
		{"a", strings.Repeat("x", define.VariableLimit+1), 400}, {"b", strings.Repeat("x", define.SecretLimit+1), 413},
	} {
		if status, _, body := r.put(path+test.name, alice.token, "", test.value); status != test.status || strings.Contains(body, "hunter2") {
			t.Errorf("%s=%.10q: %d %s", test.name, test.value, status, body)
		}
	}
	secrets := func() string {
		_, agent := r.open(agentPath, alice.agentKey)
		defer agent.Close()
		manifest, err := agentv2.NewDRPCAgentClient(agent).GetManifest(t.Context(), &agentv2.GetManifestRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, secret := range manifest.GetSecrets() {
			list = append(list, fmt.Sprintf("%s%s=%q", secret.GetEnvName(), secret.GetFilePath(), secret.GetValue()))
		}
		return strings.Join(list, " ")
	}
	if got := secrets(); got != `A="hunter2" f="hunter2\x00\xff\n"` {
		t.Errorf("the agent is told %s", got)
	}
	if status, _ := r.call("DELETE", path+"a", alice.token, ""); status != 200 {
		t.Errorf("delete: %d", status)
	}
	if got := secrets(); got != `f="hunter2\x00\xff\n"` {
		t.Errorf("the agent is told %s", got)
	}
	if strings.Contains(r.logs.String(), "hunter2") {
		t.Errorf("a secret in the log:\n%s", r.logs)
	}
}

// TestManifestOfDefinition: the agent is told all of its definition, and the parts
// by calls of their own.
func TestManifestOfDefinition(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	if status, _, body := r.put(definitionPath(alice.agent), alice.token, "", string(define.Example)); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	_, client := r.open(agentPath, alice.agentKey)
	api := agentv2.NewDRPCAgentClient(client)
	manifest, err := api.GetManifest(t.Context(), &agentv2.GetManifestRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if manifest.GetDirectory() != "~/project" || len(manifest.GetScripts()) != 3 || len(manifest.GetApps()) != 3 || len(manifest.GetMetadata()) != 2 ||
		uuid.UUID(manifest.GetApps()[0].GetId()) != define.AppID(alice.agent.ID, "web") || manifest.GetApps()[0].GetSubdomainName() != "web--main--myws--alice" ||
		manifest.GetOwnerUsername() != "alice" || manifest.GetDerpMap() == nil {
		t.Errorf("%v", manifest)
	}
	resources, err := api.GetResourcesMonitoringConfiguration(t.Context(), &agentv2.GetResourcesMonitoringConfigurationRequest{})
	if err != nil || !resources.GetMemory().GetEnabled() || len(resources.GetVolumes()) != 2 {
		t.Errorf("%v, %v", resources, err)
	}
}

// TestRedefinedAgentComesBack: a change, by REST or by a subcommand, ends the
// agent's connection within two seconds with a word and a time to come back;
// other agents, and a change that changes nothing, end none. A client that uses
// the agent hears that it is lost, not gone.
func TestRedefinedAgentComesBack(t *testing.T) {
	r := newRig(t)
	alice, bob := r.person("alice"), r.person("bob")
	other, err := store.Open(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, bobs := r.open(agentPath, bob.agentKey)
	if _, err := agentv2.NewDRPCAgentClient(bobs).GetManifest(t.Context(), &agentv2.GetManifestRequest{}); err != nil {
		t.Fatal(err)
	}
	bobStream := r.coordinate(bobs)
	if err := bobStream.Send(announce(t, proto.AddrFromUUID(proto.ServicePrefix, bob.agent.ID))); err != nil {
		t.Fatal(err)
	}
	change := func(directory string) func() {
		return func() {
			definition, err := define.Read([]byte("version: 1\ndirectory: " + directory))
			if err != nil {
				t.Fatal(err)
			}
			change, err := definition.Change("")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := other.SetDefinition(t.Context(), alice.agent.ID, change); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, act := range map[string]func(){
		"rest":            func() { r.put(definitionPath(alice.agent), alice.token, "", "version: 1\ndirectory: /rest") },
		"by a subcommand": change("/command"),
	} {
		_, agent := r.open(agentPath, alice.agentKey)
		api := agentv2.NewDRPCAgentClient(agent)
		if _, err := api.GetManifest(t.Context(), &agentv2.GetManifestRequest{}); err != nil {
			t.Fatal(err)
		}
		stream := r.coordinate(agent)
		if err := stream.Send(announce(t, proto.AddrFromUUID(proto.ServicePrefix, alice.agent.ID))); err != nil {
			t.Fatal(err)
		}
		_, client := r.open(tailnetPath, alice.token)
		user := r.coordinate(client)
		if err := user.Send(addTunnel(alice.agent.ID)); err != nil {
			t.Fatal(err)
		}
		if response, err := user.Recv(); err != nil || response.GetPeerUpdates()[0].GetKind() != tailnetv2.CoordinateResponse_PeerUpdate_NODE {
			t.Fatalf("%s: %v, %v", name, response, err)
		}
		started := time.Now()
		act()
		response, err := stream.Recv()
		if err != nil || response.GetError() != errRedefined.Text {
			t.Errorf("%s: the agent hears %v, %v", name, response, err)
		}
		if took := time.Since(started); took > 3*time.Second {
			t.Errorf("%s: after %s", name, took)
		}
		if response, err := user.Recv(); err != nil || response.GetPeerUpdates()[0].GetKind() != tailnetv2.CoordinateResponse_PeerUpdate_LOST {
			t.Errorf("%s: the client hears %v, %v", name, response, err)
		}
		eventually(t, "the agent's connection ended", func() bool { return !r.api.config.Coordinator.Connected(alice.agent.ID) })
	}
	// The same document again.
	_, again := r.open(agentPath, alice.agentKey)
	manifest, err := agentv2.NewDRPCAgentClient(again).GetManifest(t.Context(), &agentv2.GetManifestRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r.put(definitionPath(alice.agent), alice.token, "", "version: 1\ndirectory: "+manifest.GetDirectory())
	r.api.changed()
	for name, client := range map[string]*mux.Client{"again": again, "bob": bobs} {
		if _, err := agentv2.NewDRPCAgentClient(client).GetManifest(t.Context(), &agentv2.GetManifestRequest{}); err != nil {
			t.Errorf("%s has ended: %v", name, err)
		}
	}
	if !r.api.config.Coordinator.Connected(bob.agent.ID) {
		t.Error("another agent was ended")
	}
}

// TestRedefinedWhileTold: a definition that changes between its being read and its
// being told is not missed.
func TestRedefinedWhileTold(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	informed := newInformed()
	ended := 0
	h := &agentHandler{server: r.api, agent: alice.agent, part: func(error) { ended++ }}
	definition, _, err := r.store.SetDefinition(t.Context(), alice.agent.ID, store.DefinitionChange{Document: []byte(`{"version":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	if err := informed.redefine(t.Context(), r.store); err != nil || ended != 0 {
		t.Fatalf("%d, %v", ended, err)
	}
	informed.add(h, definition.Revision-1) // it was read before the change
	if ended != 1 {
		t.Errorf("ended %d times, want once", ended)
	}
	informed.remove(h)
	informed.add(h, definition.Revision)
	if ended != 1 || informed.seen != definition.Revision {
		t.Errorf("ended %d times, seen %d", ended, informed.seen)
	}
	informed.remove(h)
	if len(informed.agents) != 0 {
		t.Errorf("%v is left", informed.agents)
	}
}

// TestBanners: administrators set them, users see them, agents are told them.
func TestBanners(t *testing.T) {
	r := newRig(t)
	root, alice := r.person("root"), r.person("alice") // the first user is an administrator
	const path = "/api/v2/appearance"
	good := `{"announcement_banners":[{"enabled":false,"message":"old"},{"enabled":true,"message":"Maintenance\non Friday","background_color":"#004852"}]}`
	if status, _ := r.call("PUT", path, alice.token, good); status != 403 {
		t.Errorf("a user: %d", status)
	}
	if status, _ := r.call("GET", path, "", ""); status != 401 {
		t.Errorf("nobody: %d", status)
	}
	if status, body := r.call("PUT", path, root.token, good); status != 200 {
		t.Errorf("%d %v", status, body)
	}
	for _, bad := range []string{
		`{"announcement_banners":[{"enabled":true,"message":" "}]}`, `{"announcement_banners":[{"enabled":true,"message":"a\u001b[2J"}]}`,
		`{"announcement_banners":[{"enabled":true,"message":"a","background_color":"red"}]}`, `{"application_name":"x","announcement_banners":[]}`, `{"banners":[]}`,
		`{"announcement_banners":[` + strings.Repeat(`{"enabled":true,"message":"a"},`, define.BannerCount) + `{"enabled":true,"message":"a"}]}`,
		`{"announcement_banners":[{"enabled":true,"message":"` + strings.Repeat("a", define.BannerLimit+1) + `"}]}`,
	} {
		if status, body := r.call("PUT", path, root.token, bad); status != 400 {
			t.Errorf("%.80s: %d %v", bad, status, body)
		}
	}
	_, raw := r.raw("GET", path, alice.token, "")
	if !bytes.Contains(raw, []byte(`"announcement_banners":[{"enabled":false,"message":"old"},{"enabled":true,"message":"Maintenance\non Friday","background_color":"#004852"}]`)) ||
		!bytes.Contains(raw, []byte(`"service_banner":{"enabled":true,"message":"Maintenance\non Friday"`)) {
		t.Errorf("%s", raw)
	}
	_, client := r.open(agentPath, alice.agentKey)
	api := agentv2.NewDRPCAgentClient(client)
	banners, err := api.GetAnnouncementBanners(t.Context(), &agentv2.GetAnnouncementBannersRequest{})
	if err != nil || len(banners.GetAnnouncementBanners()) != 2 || banners.GetAnnouncementBanners()[0].GetEnabled() || banners.GetAnnouncementBanners()[1].GetBackgroundColor() != "#004852" {
		t.Errorf("%v, %v", banners, err)
	}
	banner, err := api.GetServiceBanner(t.Context(), &agentv2.GetServiceBannerRequest{})
	if err != nil || !banner.GetEnabled() || banner.GetMessage() != "Maintenance\non Friday" {
		t.Errorf("%v, %v", banner, err)
	}
	if status, body := r.call("PUT", path, root.token, `{"service_banner":{"enabled":true,"message":"one"}}`); status != 200 || len(body["announcement_banners"].([]any)) != 1 {
		t.Errorf("%d %v", status, body)
	}
	if status, _ := r.call("PUT", path, root.token, `{"announcement_banners":[]}`); status != 200 {
		t.Errorf("clear: %d", status)
	}
	if banner, err := api.GetServiceBanner(t.Context(), &agentv2.GetServiceBannerRequest{}); err != nil || banner.GetEnabled() {
		t.Errorf("%v, %v", banner, err)
	}
}
