package main

import "strconv"

// coordinator is bar 11.
func (b *bench) coordinator() ([]row, error) {
	updates := 1000
	if b.quick {
		updates = 600 // more than a queue holds
	}
	got, err := b.measure(b.net.Proxy, "fanout", "-updates", strconv.Itoa(updates), "-pairs", strconv.Itoa(b.pairs))
	if err != nil {
		return nil, err
	}
	return []row{
		{metric: "coordinator: update to 100 watchers, p99", unit: "ms", ours: got["large p99"], target: &target{limit: 10, amount: true}, note: "10,000 peers, half of them clients with 10 tunnels each; in process, until each watcher has its bytes."},
		{metric: "coordinator: the same over RPC, p99", unit: "ms", ours: got["remote p99"], target: &target{limit: 50, amount: true}, note: "100 connections in the product's framing on loopback, until the last has decoded the update."},
		{metric: "coordinator: CPU of a delivery", unit: "µs", ours: got["large delivery"], target: &target{limit: 10, amount: true}, note: "in process."},
		{metric: "coordinator: CPU of a delivery over RPC", unit: "µs", ours: got["remote delivery"], note: "of both ends: websocket, yamux, dRPC, and the watcher's decoding."},
		{metric: "coordinator: cost with 10,000 peers, of 1,000's", unit: "µs", ours: got["large delivery"], peer: got["small delivery"], target: &target{limit: 1.2}},
		{metric: "coordinator: p99 of the others with one stalled", unit: "ms", ours: got["with stalled p99"], peer: got["without stalled p99"], target: &target{limit: 1.2}, note: "it never reads; that it is removed when its queue is full is among what is timed."},
	}, nil
}

// rpc is bar 12.
func (b *bench) rpc() ([]row, error) {
	got, err := b.measure(b.net.Proxy, "rpc", "-pairs", strconv.Itoa(b.pairs), "-for", (b.lasting / 4).String())
	if err != nil {
		return nil, err
	}
	bar := &target{limit: 2, stretch: "1.5"}
	return []row{
		{metric: "RPC round trip, 64 bytes", unit: "µs", ours: got["framed small"], peer: got["bare small"], target: bar, note: "medians, on one open call: websocket, yamux and dRPC against dRPC on the bare TCP connection, loopback, both ends in one process."},
		{metric: "RPC round trip, 200 KB from the server", unit: "µs", ours: got["framed answer"], peer: got["bare answer"], target: bar, note: "as a relay map or a long list of peers comes."},
		{metric: "RPC round trip, 200 KB both ways", unit: "µs", ours: got["framed both"], peer: got["bare both"], target: bar, note: "a client's websocket must mask what it sends, and the library does so through a buffer of 4 KB: 49 system calls for 200 KB. No message of a client is that large."},
	}, nil
}
