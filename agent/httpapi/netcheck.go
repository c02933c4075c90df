package httpapi

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/causewayhq/causeway/tailnet"
)

type netcheckAnswer struct {
	Version       int            `json:"version"`
	At            *time.Time     `json:"at"` // null: never
	UDP           bool           `json:"udp"`
	IPv4          bool           `json:"ipv4"`
	IPv6          bool           `json:"ipv6"`
	PublicIPv4    string         `json:"public_ipv4"`
	PublicIPv6    string         `json:"public_ipv6"`
	MappingVaries *bool          `json:"mapping_varies"` // a hard NAT
	PortMapping   *bool          `json:"port_mapping"`
	CaptivePortal *bool          `json:"captive_portal"`
	Endpoints     []string       `json:"endpoints"`
	Relays        []relayLatency `json:"relays"`
}

type relayLatency struct {
	RegionID  int     `json:"region_id"`
	LatencyMS float64 `json:"latency_ms"`
}

// netcheck measures the network as the workspace sees it: 6 s at most. Who asks
// meanwhile gets the same answer.
func (s *Server) netcheck(w http.ResponseWriter, r *http.Request) {
	network := s.network()
	if network == nil {
		fail(w, http.StatusServiceUnavailable, "The agent has no network yet.", nil)
		return
	}
	measured := s.flight.DoChan("netcheck", func() (any, error) {
		if !s.begin() {
			return netcheckOf(tailnet.NetworkReport{}), nil
		}
		defer s.work.Done()
		return netcheckOf(network.MeasureNetwork(s.ctx)), nil
	})
	select {
	case result := <-measured:
		write(w, http.StatusOK, result.Val)
	case <-r.Context().Done():
	}
}

func (s *Server) network() Network {
	if s.config.Network == nil {
		return nil
	}
	return s.config.Network()
}

func netcheckOf(report tailnet.NetworkReport) netcheckAnswer {
	answer := netcheckAnswer{
		Version: 1, UDP: report.UDP, IPv4: report.IPv4, IPv6: report.IPv6,
		PublicIPv4: text(report.PublicIPv4), PublicIPv6: text(report.PublicIPv6),
		MappingVaries: report.MappingVaries, PortMapping: report.PortMapping, CaptivePortal: report.CaptivePortal,
		Endpoints: []string{}, Relays: []relayLatency{},
	}
	if !report.At.IsZero() {
		answer.At = &report.At
	}
	for _, endpoint := range report.Endpoints {
		answer.Endpoints = append(answer.Endpoints, endpoint.String())
	}
	for region, latency := range report.Latency {
		answer.Relays = append(answer.Relays, relayLatency{region, float64(latency) / float64(time.Millisecond)})
	}
	slices.SortFunc(answer.Relays, func(a, b relayLatency) int { return cmp.Compare(a.RegionID, b.RegionID) })
	return answer
}

// text of what is not known is "".
func text(address netip.AddrPort) string {
	if !address.IsValid() {
		return ""
	}
	return address.String()
}
