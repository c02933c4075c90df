package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
)

const (
	// agentHTTPPort is the agent's HTTP API (docs of the protocol, 5.1).
	agentHTTPPort = 4
	// portsLimit bounds the whole question, and portsSize the answer in bytes:
	// 1,000 ports have some 60 KiB.
	portsLimit = 20 * time.Second
	portsSize  = 512 << 10
	// headSize bounds the head of an agent's answer in bytes.
	headSize = 16 << 10
	// portsMost are told, each with a name of so many bytes at most.
	portsMost    = 1024
	portNameMost = 128
	// firstPort is the first that agents forward.
	firstPort = 9
)

type portBody struct {
	ProcessName string `json:"process_name"`
	Network     string `json:"network"`
	Port        uint16 `json:"port"`
}

type portsBody struct {
	Ports []portBody `json:"ports"`
}

// listeningPorts asks the agent on which ports programs listen. What it answers
// is a workspace's word, so it is read within bounds and passed on field by field.
func (s *Server) listeningPorts(r *http.Request) (int, any, error) {
	agent, user, token, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	// It counts like any connection: an agent that never answers would otherwise
	// let its owner take all that there may be to agents.
	entry, err := s.begin(r, token, user)
	if err != nil {
		return 0, nil, err
	}
	defer s.live.exit(entry)
	ctx, cancel := context.WithTimeout(r.Context(), portsLimit)
	defer cancel()
	defer context.AfterFunc(entry.leave, cancel)()
	body, err := s.askAgent(ctx, agent.ID, "/api/v0/listening-ports", portsSize)
	if err != nil {
		return 0, nil, err
	}
	var told struct {
		Ports []json.RawMessage `json:"ports"`
	}
	if err := json.Unmarshal(body, &told); err != nil {
		return 0, nil, reject(http.StatusBadGateway, "The agent's answer cannot be read.", "")
	}
	answer := portsBody{Ports: []portBody{}}
	for _, raw := range told.Ports {
		var port portBody
		if json.Unmarshal(raw, &port) != nil || port.Port < firstPort || port.Network != "tcp" || len(answer.Ports) >= portsMost {
			continue
		}
		port.ProcessName = strings.ToValidUTF8(port.ProcessName[:min(len(port.ProcessName), portNameMost)], "")
		answer.Ports = append(answer.Ports, port)
	}
	return http.StatusOK, answer, nil
}

// askAgent gets a page of the agent's HTTP API, of so many bytes at most.
func (s *Server) askAgent(ctx context.Context, agent uuid.UUID, path string, most int64) ([]byte, error) {
	conn, err := s.config.Agents.Dial(ctx, agent, agentHTTPPort)
	if err != nil {
		return nil, agentFailure(err)
	}
	defer conn.Close()
	transport := &http.Transport{
		DisableKeepAlives: true, Proxy: nil, MaxResponseHeaderBytes: headSize,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	host := netip.AddrPortFrom(proto.AddrFromUUID(proto.ServicePrefix, agent), agentHTTPPort)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host.String()+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask agent: %w", err)
	}
	// A redirect is an answer like any other: it leads nowhere.
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, reject(http.StatusBadGateway, "The agent did not answer.", err.Error())
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case err != nil:
		return nil, reject(http.StatusBadGateway, "The agent's answer broke off.", err.Error())
	case response.StatusCode != http.StatusOK:
		return nil, reject(http.StatusBadGateway, "The agent refused to answer.", fmt.Sprintf("Its status is %d.", response.StatusCode))
	case int64(len(body)) > most:
		return nil, reject(http.StatusBadGateway, "The agent's answer is too long.", fmt.Sprintf("The limit is %d bytes.", most))
	}
	return body, nil
}
