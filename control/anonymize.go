package control

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// saltLength is what the far side's own clients use; 16 characters of base32
// are 80 random bits.
const saltLength = 16

// Anonymizer makes facts about networks fit for telemetry: addresses and host
// names leave the host as salted hashes only. Equal texts give equal hashes
// under one Anonymizer and under no other. It is safe for concurrent use.
type Anonymizer struct{ salt string }

// NewAnonymizer draws a new salt, which never leaves the process.
func NewAnonymizer() *Anonymizer { return &Anonymizer{salt: rand.Text()[:saltLength]} }

// Hash is the lower-case hex SHA-256 of the salt followed by the text. An
// empty text stays empty: it says only that there is none.
func (a *Anonymizer) Hash(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(a.salt + text))
	return hex.EncodeToString(sum[:])
}

// Address hashes an address and keeps its version and class. What is no
// address gives nothing.
func (a *Anonymizer) Address(addr netip.Addr) *tailnetv2.Netcheck_NetcheckIP {
	if !addr.IsValid() {
		return &tailnetv2.Netcheck_NetcheckIP{}
	}
	addr = addr.Unmap().WithZone("")
	return &tailnetv2.Netcheck_NetcheckIP{Hash: a.Hash(addr.String()), Fields: addressFields(addr)}
}

// Endpoint is where a peer is reached: its address as with Address, and the
// port as it is.
func (a *Anonymizer) Endpoint(endpoint netip.AddrPort) *tailnetv2.TelemetryEvent_P2PEndpoint {
	addr := a.Address(endpoint.Addr())
	return &tailnetv2.TelemetryEvent_P2PEndpoint{Hash: addr.GetHash(), Port: int32(endpoint.Port()), Fields: addr.GetFields()}
}

// RelayMap is the map with every host name, certificate name and address
// hashed; regions keep their numbers, codes and names.
func (a *Anonymizer) RelayMap(relays proto.RelayMap) *tailnetv2.DERPMap {
	message := relays.Proto()
	for _, region := range message.GetRegions() {
		for _, node := range region.GetNodes() {
			node.HostName, node.CertName = a.Hash(node.GetHostName()), a.Hash(node.GetCertName())
			node.Ipv4, node.Ipv6 = a.addressText(node.GetIpv4()), a.addressText(node.GetIpv6())
			node.StunTestIp = a.addressText(node.GetStunTestIp())
		}
	}
	return message
}

// addressText leaves out what cannot be read as an address: it might be
// anything.
func (a *Anonymizer) addressText(text string) string {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return a.Address(addr).GetHash()
}

func addressFields(addr netip.Addr) *tailnetv2.IPFields {
	fields := &tailnetv2.IPFields{Version: 6, Class: tailnetv2.IPFields_PUBLIC}
	if addr.Is4() {
		fields.Version = 4
	}
	switch {
	case addr.IsLoopback():
		fields.Class = tailnetv2.IPFields_LOOPBACK
	case addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast():
		fields.Class = tailnetv2.IPFields_LINK_LOCAL
	case addr.IsPrivate():
		fields.Class = tailnetv2.IPFields_PRIVATE
	}
	return fields
}
