package httpapi

import (
	"net/http"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// logs are the last lines of the agent's log. Secrets never get there: their
// types do not print.
func (s *Server) logs(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = s.config.Logs.WriteTo(w) // an error means that the client is gone
}

// magicsock is upstream's own page about paths to peers.
func (s *Server) magicsock(w http.ResponseWriter, _ *http.Request) {
	network := s.network()
	if network == nil {
		fail(w, http.StatusServiceUnavailable, "The agent has no network yet.", nil)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(network.PathsPage()) // an error means that the client is gone
}

// debugLogging makes /debug/logs keep what upstream says about each packet of
// path discovery, or no longer. It lasts until it is switched off or the agent
// ends; the ring keeps its size.
func (s *Server) debugLogging(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost && r.Method != http.MethodPut {
		w.Header().Set("Allow", "GET, POST, PUT")
		fail(w, http.StatusMethodNotAllowed, "Use GET, POST or PUT.", nil)
		return
	}
	state := r.PathValue("state")
	on, err := strconv.ParseBool(state)
	if state == "on" || state == "off" {
		on, err = state == "on", nil
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "The state is neither on nor off.", nil)
		return
	}
	s.config.Logs.SetEverything(on)
	if network := s.network(); network != nil {
		network.SetPathLogging(on)
	}
	write(w, http.StatusOK, message{Message: "Debug logging is " + map[bool]string{true: "on", false: "off"}[on] + "."})
}

const redacted = "[redacted]"

// manifest is what the control plane wants of the agent, without what may be
// secret in it.
func (s *Server) manifest(w http.ResponseWriter, _ *http.Request) {
	var current *agentv2.Manifest
	if s.config.Manifest != nil {
		current = s.config.Manifest()
	}
	if current == nil {
		fail(w, http.StatusServiceUnavailable, "The agent has no manifest yet.", nil)
		return
	}
	body, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(withoutSecrets(current))
	if err != nil {
		fail(w, http.StatusInternalServerError, "The manifest cannot be written.", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // an error means that the client is gone
}

func withoutSecrets(manifest *agentv2.Manifest) *agentv2.Manifest {
	out := proto.CloneOf(manifest)
	// What this program does not know could be anything.
	out.ProtoReflect().SetUnknown(nil)
	for name := range out.GetEnvironmentVariables() {
		out.EnvironmentVariables[name] = redacted
	}
	for _, secret := range out.GetSecrets() {
		secret.Value = []byte(redacted)
	}
	return out
}
