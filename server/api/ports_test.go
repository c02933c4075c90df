package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/store"
	"github.com/causewayhq/causeway/server/tailnetclient"
)

// answering is an agent's HTTP API that says the same to every request, as it is.
func answering(said *string) func(uint16, net.Conn) {
	return func(_ uint16, conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil || request.URL.Path != "/api/v0/listening-ports" || !strings.HasSuffix(request.Host, "]:4") {
			return
		}
		_, _ = io.WriteString(conn, *said)
	}
}

func httpAnswer(status int, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

func TestListeningPorts(t *testing.T) {
	var said string
	p := newPTYRig(t, nil)
	p.agents.serve = answering(&said)
	mallory := p.person("mallory")
	path := "/api/v2/workspaceagents/" + p.alice.agent.ID.String() + "/listening-ports"

	said = httpAnswer(200, `{"ports":[{"process_name":"node","network":"tcp","port":3000},{"process_name":"`+strings.Repeat("n", 1000)+`","network":"tcp","port":65535},
		{"network":"tcp","port":8},{"network":"tcp","port":65536},{"network":"udp","port":5353},{"network":"tcp","port":-1},7,null]}`)
	status, body := p.call("GET", path, p.alice.token, "")
	ports, _ := body["ports"].([]any)
	if status != 200 || len(ports) != 2 {
		t.Fatalf("%d %v", status, body)
	}
	if first := ports[0].(map[string]any); first["process_name"] != "node" || first["port"] != float64(3000) || first["network"] != "tcp" {
		t.Errorf("first %v", first)
	}
	if name := ports[1].(map[string]any)["process_name"].(string); len(name) != portNameMost {
		t.Errorf("a name of %d bytes", len(name))
	}
	said = httpAnswer(200, `{"ports":[`+strings.Repeat(`{"network":"tcp","port":99},`, 2000)+`{"network":"tcp","port":99}]}`)
	if status, body := p.call("GET", path, p.alice.token, ""); status != 200 || len(body["ports"].([]any)) != portsMost {
		t.Errorf("many ports: %d, %d", status, len(body["ports"].([]any)))
	}
	for name, text := range map[string]string{
		"no HTTP":  "SSH-2.0-x\r\n",
		"nothing":  "",
		"no JSON":  httpAnswer(200, "<html>"),
		"refused":  httpAnswer(500, "{}"),
		"redirect": "HTTP/1.1 302 x\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
		"too long": httpAnswer(200, `{"ports":[]}`+strings.Repeat(" ", portsSize)),
		"head":     "HTTP/1.1 200 x\r\nX: " + strings.Repeat("x", 8*headSize) + "\r\nContent-Length: 12\r\n\r\n" + `{"ports":[]}`,
		"cut off":  "HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{",
	} {
		said = text
		if status, body := p.call("GET", path, p.alice.token, ""); status != http.StatusBadGateway || body["message"] == "" {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
	if status, _ := p.call("GET", path, mallory.token, ""); status != http.StatusNotFound {
		t.Errorf("mallory: %d", status)
	}
	p.agents.refuse = tailnetclient.ErrNotConnected
	if status, _ := p.call("GET", path, p.alice.token, ""); status != http.StatusPreconditionRequired {
		t.Errorf("not connected: %d", status)
	}
}

// TestListeningPortsCount: each question is one of the connections that an account
// may have.
func TestListeningPortsCount(t *testing.T) {
	said := httpAnswer(200, `{"ports":[]}`)
	p := newPTYRig(t, nil)
	p.agents.serve = answering(&said)
	path := "/api/v2/workspaceagents/" + p.alice.agent.ID.String() + "/listening-ports"
	var open []*connection
	for range connectionLimit {
		entry, err := p.api.live.enter(t.Context(), store.Token{UserID: p.alice.ID}, uuid.New())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, entry)
	}
	if status, _ := p.call("GET", path, p.alice.token, ""); status != http.StatusTooManyRequests {
		t.Errorf("beyond the limit: %d", status)
	}
	for _, entry := range open {
		p.api.live.exit(entry)
	}
	if status, _ := p.call("GET", path, p.alice.token, ""); status != http.StatusOK || p.api.live.count() != 0 {
		t.Errorf("%d, %d connections are left", status, p.api.live.count())
	}
}
