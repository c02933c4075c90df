package doctor

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/causewayhq/causeway/proto"
)

// The daemon answers on this host itself, within a millisecond; a second
// question is for a host under load.
const passageTries, passageLimit = 2, 1500 * time.Millisecond

// Passage sends a question through the operating system into the tunnel, as any
// program sends packets. That the daemon answers at all is enough.
func (m *Machine) Passage(ctx context.Context, tunnel Tunnel) Passage {
	if tunnel.Sentinel == "" || tunnel.Status.GetAddress() == "" {
		return Passage{}
	}
	p := Passage{Asked: true}
	for range passageTries {
		tryCtx, cancel := context.WithTimeout(ctx, passageLimit)
		_, err := lookupDirect(tryCtx, proto.DNSAddr, tunnel.Sentinel)
		cancel()
		var other answeredError
		if err == nil || errors.As(err, &other) {
			return Passage{Asked: true}
		}
		p.Err, p.Silent = err, isSilence(err)
		var refused *net.OpError
		if errors.As(err, &refused) { // its addresses and ports say nothing to anybody
			p.Err = refused.Err
		}
	}
	p.Rule = forbids(ruleset(ctx), tunnel.Status.GetInterface())
	return p
}

// forbids finds in the output of nft list ruleset the first rule that drops or
// refuses packets of the interface or of the tunnel's addresses, and says where
// it is; "": none is plain to see.
func forbids(ruleset, name string) string {
	table, chain := "", ""
	for line := range strings.Lines(ruleset) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "table "):
			table, chain = strings.TrimSuffix(line, " {"), ""
			continue
		case strings.HasPrefix(line, "chain "):
			chain = strings.TrimSuffix(line, " {")
			continue
		}
		if chain == "" || !namesTunnel(line, name) {
			continue
		}
		for word := range strings.FieldsSeq(line) {
			if word == "drop" || word == "reject" {
				return table + ", " + chain + ": " + line
			}
		}
	}
	return ""
}

// namesTunnel also knows wildcards: oifname "cause*".
func namesTunnel(rule, name string) bool {
	for _, key := range []string{"oifname ", "iifname ", "oif ", "iif "} {
		_, rest, found := strings.Cut(rule, key)
		if !found || strings.HasPrefix(rest, "!=") {
			continue
		}
		for i, part := range strings.Split(rest, `"`) {
			if i%2 == 1 && (part == name || strings.HasSuffix(part, "*") && strings.HasPrefix(name, strings.TrimSuffix(part, "*"))) {
				return true
			}
		}
	}
	return strings.Contains(rule, "daddr "+proto.ServicePrefix.Addr().String()) || strings.Contains(rule, "saddr "+proto.ServicePrefix.Addr().String())
}
