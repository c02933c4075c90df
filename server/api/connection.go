package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
)

// relayMapBody is the relay map in the JSON that clients of this path expect:
// upstream's casing, and the two facts that upstream's type cannot hold.
type relayMapBody struct{ proto.RelayMap }

type regionBody struct {
	EmbeddedRelay bool
	*tailcfg.DERPRegion
	Nodes []nodeBody
}

type nodeBody struct {
	*tailcfg.DERPNode
	ForceHTTP bool `json:",omitempty"`
}

// MarshalJSON writes the map.
func (m relayMapBody) MarshalJSON() ([]byte, error) {
	regions := map[string]regionBody{}
	for id, region := range m.Regions {
		body := regionBody{EmbeddedRelay: m.Embedded[id], DERPRegion: region, Nodes: []nodeBody{}}
		for _, node := range region.Nodes {
			body.Nodes = append(body.Nodes, nodeBody{node, m.PlainHTTP[node.Name]})
		}
		regions[strconv.Itoa(id)] = body
	}
	data, err := json.Marshal(struct {
		HomeParams         *tailcfg.DERPHomeParams `json:",omitempty"`
		Regions            map[string]regionBody
		OmitDefaultRegions bool `json:"omitDefaultRegions"`
	}{m.HomeParams, regions, true})
	if err != nil {
		return nil, fmt.Errorf("encode relay map: %w", err)
	}
	return data, nil
}

type connectionBody struct {
	RelayMap       relayMapBody `json:"derp_map"`
	ForceWebsocket bool         `json:"derp_force_websockets"`
	DirectDisabled bool         `json:"disable_direct_connections"`
	HostnameSuffix string       `json:"hostname_suffix,omitempty"`
}

func (s *Server) connectionInfo() connectionBody {
	return connectionBody{
		RelayMap: relayMapBody{s.config.RelayMap()}, ForceWebsocket: s.config.ForceWebsocket,
		DirectDisabled: s.config.DirectDisabled, HostnameSuffix: s.config.HostnameSuffix,
	}
}

// getConnection is for users, and for agents: they tell their names.
func (s *Server) getConnection(r *http.Request) (int, any, error) {
	if _, _, err := s.config.Store.AuthenticateAgent(r.Context(), presentedToken(r)); err == nil {
		return http.StatusOK, s.connectionInfo(), nil
	}
	if _, _, err := s.user(r); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, s.connectionInfo(), nil
}

func (s *Server) getAgentConnection(r *http.Request) (int, any, error) {
	if _, _, _, err := s.ownAgent(r); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, s.connectionInfo(), nil
}
