package client

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/suffix"
)

// connectionBody is the JSON of connection info.
type connectionBody struct {
	RelayMap        json.RawMessage `json:"derp_map"`
	ForceWebsockets bool            `json:"derp_force_websockets"`
	DisableDirect   bool            `json:"disable_direct_connections"`
	HostnameSuffix  string          `json:"hostname_suffix"`
}

func (b connectionBody) info() (ConnectionInfo, error) {
	relays, err := parseRelayMap(b.RelayMap)
	if err != nil {
		return ConnectionInfo{}, err
	}
	info := ConnectionInfo{
		RelayMap: relays, DisableDirect: b.DisableDirect, ForceWebsockets: b.ForceWebsockets, HostnameSuffix: b.HostnameSuffix,
	}
	info.HostnameSuffix = strings.ToLower(strings.Trim(info.HostnameSuffix, "."))
	if info.HostnameSuffix == "" {
		info.HostnameSuffix = DefaultSuffix
	}
	if !suffixForm.MatchString(info.HostnameSuffix) || len(info.HostnameSuffix) > suffixLimit {
		return ConnectionInfo{}, fmt.Errorf("hostname suffix %q is not a DNS name", info.HostnameSuffix)
	}
	return info, nil
}

// checkSuffix refuses a suffix that is not the control plane's to claim, or that
// it lies in itself: inside it every name but ours ceases to exist on the host.
func checkSuffix(claimed, host string) error {
	if err := suffix.Check(claimed); err != nil {
		return fmt.Errorf("hostname suffix %q %w", claimed, err)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == claimed || strings.HasSuffix(host, "."+claimed) {
		return fmt.Errorf("hostname suffix %q holds the control plane's own name %s, which would be lost on this host", claimed, host)
	}
	return nil
}

// suffixLimit leaves room for the labels in front of the suffix.
const suffixLimit = 190

// suffixForm is what may be handed to resolvers and hosts files.
var suffixForm = regexp.MustCompile(`^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$`)

// extraFields are the facts in a relay map's JSON that upstream's type lacks.
type extraFields struct {
	Regions map[int]struct {
		EmbeddedRelay bool
		Nodes         []struct {
			Name      string
			ForceHTTP bool
		}
	}
}

// parseRelayMap reads a relay map in the JSON form of upstream's type, with
// the two fields that upstream does not know.
func parseRelayMap(data []byte) (proto.RelayMap, error) {
	result := proto.RelayMap{DERPMap: &tailcfg.DERPMap{}, Embedded: map[int]bool{}, PlainHTTP: map[string]bool{}}
	if len(data) == 0 || string(data) == "null" {
		result.Regions = map[int]*tailcfg.DERPRegion{}
		return result, nil
	}
	var extra extraFields
	if err := json.Unmarshal(data, result.DERPMap); err != nil {
		return proto.RelayMap{}, fmt.Errorf("decode relay map: %w", err)
	}
	if err := json.Unmarshal(data, &extra); err != nil {
		return proto.RelayMap{}, fmt.Errorf("decode relay map: %w", err)
	}
	if result.Regions == nil {
		result.Regions = map[int]*tailcfg.DERPRegion{}
	}
	for id, region := range result.Regions {
		if region == nil {
			return proto.RelayMap{}, fmt.Errorf("decode relay map: region %d is null", id)
		}
		for _, node := range region.Nodes {
			if node == nil {
				return proto.RelayMap{}, fmt.Errorf("decode relay map: region %d has a null node", id)
			}
		}
		if extra.Regions[id].EmbeddedRelay {
			result.Embedded[id] = true
		}
		for _, node := range extra.Regions[id].Nodes {
			if node.ForceHTTP {
				result.PlainHTTP[node.Name] = true
			}
		}
	}
	return result, nil
}
