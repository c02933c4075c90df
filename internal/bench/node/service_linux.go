package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/causewayhq/causeway/dns"
	cwproto "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/tailnet"
)

// suffix and agents are of every DNS table in the bench.
const (
	suffix = "coder"
	agents = 1000
)

// hosts are the names of many agents, main.ws0.me.coder and so on.
func hosts() map[string]netip.Addr {
	names := map[string]netip.Addr{}
	for i := range agents {
		name := "main.ws" + strconv.Itoa(i) + ".me." + suffix
		names[name] = addrOf(name)
	}
	return names
}

func newResolver() *dns.Resolver {
	resolver := dns.New([]string{suffix})
	resolver.Publish(dns.NewTable([]string{suffix}, agents, maps.All(hosts()), []netip.Prefix{cwproto.ServicePrefix}))
	return resolver
}

// newService is what answers at the DNS address. The engine that sends the
// answers comes later, by ready.
func newService(kind string) (service *tailnet.Service, ready func(*tailnet.Engine), err error) {
	answer, err := packetAnswerer(kind)
	if err != nil {
		return nil, nil, err
	}
	var engine atomic.Pointer[tailnet.Engine]
	buffers := sync.Pool{New: func() any { return new([]byte) }}
	handle := func(packet []byte) {
		buffer := buffers.Get().(*[]byte)
		defer buffers.Put(buffer)
		*buffer = answer((*buffer)[:0], packet)
		if to := engine.Load(); to != nil && len(*buffer) > 0 {
			if err := to.SendToHost(*buffer); err != nil {
				fmt.Fprintln(os.Stderr, "node: answer:", err)
			}
		}
	}
	return &tailnet.Service{Addr: cwproto.DNSAddr, Handle: handle}, engine.Store, nil
}

// echo returns a UDP packet to its sender with one bit flipped, the one that
// makes a DNS query an answer: the least that any server in this place must do.
func echo(dst, packet []byte) []byte {
	const flags = 40 + 8 + 2 // IPv6 and UDP header, DNS id
	if len(packet) < flags+2 || packet[6] != 17 {
		return dst
	}
	base := len(dst)
	dst = append(dst, packet...)
	reply := dst[base:]
	copy(reply[8:24], packet[24:40])
	copy(reply[24:40], packet[8:24])
	copy(reply[40:42], packet[42:44])
	copy(reply[42:44], packet[40:42])
	reply[flags] |= 0x80
	// The order of addends does not matter to the checksum, so only the bit
	// changes it (RFC 1624).
	before, after := binary.BigEndian.Uint16(packet[flags:]), binary.BigEndian.Uint16(reply[flags:])
	sum := uint32(^binary.BigEndian.Uint16(packet[46:])) + uint32(^before) + uint32(after)
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(reply[46:], ^uint16(sum))
	return dst
}
