package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/causewayhq/causeway/internal/testnet"
)

// idlePeers is how many are known, and idle, in bar 10.
const idlePeers = 10_000

// weight is what a program weighs once it has come to rest.
type weight struct{ size, goroutines, added float64 } // MB, count, ms

// weigh reads what a program has written when it was ready, and its memory.
func (b *bench) weigh(p *process, err error) (w weight, _ error) {
	if err != nil {
		return w, err
	}
	defer p.stop()
	if err := p.readyWithin(b.ctx, 3*time.Minute); err != nil {
		return w, err
	}
	b.pause(5 * time.Second)
	if w.size, err = memory(p.pid(), "VmRSS"); err != nil {
		return w, err
	}
	text, err := os.ReadFile(p.log)
	if err != nil {
		return w, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		number, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case name == "goroutines":
			w.goroutines = number
		case name == "added":
			w.added = number
		}
	}
	return w, nil
}

// peers is bar 10: what known and idle peers cost, beside a wireguard-go that
// has the same number configured.
func (b *bench) peers() ([]row, error) {
	rounds := 2
	if b.quick {
		rounds = 1
	}
	var grown, peerGrown, routines, peerRoutines, added []float64
	for range rounds {
		var ours, peer [2]weight
		for i, known := range []int{0, idlePeers} {
			var err error
			if ours[i], err = b.weigh(b.start(b.net.Proxy, "known", nil, nil, "node", "engine", "-device", "cw-known", "-known", strconv.Itoa(known))); err != nil {
				return nil, err
			}
			if peer[i], err = b.weigh(b.eager(b.net.Proxy, known)); err != nil {
				return nil, err
			}
		}
		grown, peerGrown = append(grown, ours[1].size-ours[0].size), append(peerGrown, peer[1].size-peer[0].size)
		routines, peerRoutines = append(routines, ours[1].goroutines-ours[0].goroutines), append(peerRoutines, peer[1].goroutines-peer[0].goroutines)
		added = append(added, ours[1].added)
	}
	return []row{
		{metric: "peers: RSS growth by 10,000 idle ones", unit: "MB", ours: grown, peer: peerGrown, target: &target{limit: 0.1}, note: "the peer is golang.zx2c4.com/wireguard with as many peers configured. Both collect their garbage before they are weighed."},
		{metric: "peers: goroutines more with 10,000 idle ones", unit: "", ours: routines, peer: peerRoutines, target: &target{limit: 0, amount: true}},
		{metric: "peers: 10,000 made known", unit: "ms", ours: added, target: &target{limit: 100, amount: true}, note: "as destinations, in responses of 1,024; nothing is sent to any of them."},
	}, nil
}

// eager is a wireguard-go with many peers.
func (b *bench) eager(host *testnet.Host, peers int) (*process, error) {
	self, err := newWGEnd("fd77::1")
	if err != nil {
		return nil, err
	}
	var config strings.Builder
	fmt.Fprintf(&config, "private_key=%s\nlisten_port=%d\n", self.private, wireguardPort)
	for i := range peers {
		private, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&config, "public_key=%s\nendpoint=192.0.2.77:%d\nallowed_ip=fd77::%x:%x/128\n", hex.EncodeToString(private.PublicKey().Bytes()), 10000+i, 1+i>>16, i&0xffff)
	}
	return b.start(host, "eager", strings.NewReader(config.String()), nil, "wireguard", "wgeager0", self.address+"/64")
}
