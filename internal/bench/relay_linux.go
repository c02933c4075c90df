package main

// relayRig is one relay with a pair of engines that can use nothing else.
type relayRig struct {
	relay *process
	ends  ends
}

func (b *bench) relayRig(label, kind, port string) (relayRig, error) {
	relay, address, err := b.relayOn(kind, port)
	if err != nil {
		return relayRig{}, err
	}
	e, err := b.engines(label, address, "-relayed")
	return relayRig{relay: relay, ends: e}, err
}

// relay is bar 2.
func (b *bench) relay() ([]row, error) {
	ours, err := b.relayRig("ours", "ours", "4431")
	if err != nil {
		return nil, err
	}
	peer, err := b.relayRig("derper", "derper", "4432")
	if err != nil {
		return nil, err
	}
	sink, err := b.sink(b.net.Agent, "[::]:"+sinkPort)
	if err != nil {
		return nil, err
	}
	var size int
	send := func(r relayRig, size int) (sample, error) {
		return b.transfer("["+r.ends.address+"]:"+sinkPort, size, 1, sink, append([]int{r.relay.pid()}, r.ends.pids()...)...)
	}
	for _, rig := range []relayRig{ours, peer} {
		fits, err := b.sized(func(size int) (sample, error) { return send(rig, size) })
		if err != nil {
			return nil, err
		}
		if size == 0 || fits < size {
			size = fits
		}
	}
	var a, d collected
	err = b.inTurn(
		func() error { return sampled(&a, func() (sample, error) { return send(ours, size) }) },
		func() error { return sampled(&d, func() (sample, error) { return send(peer, size) }) })
	if err != nil {
		return nil, err
	}
	return []row{
		{
			metric: "relayed TCP, 1 stream", unit: "Mbit/s", ours: a.rates, peer: d.rates, target: &target{limit: 1, atLeast: true, stretch: "1.5"},
			note: "TLS on both sides; the same pair of engines as clients. The peer is tailscale.com/derp/derpserver served as cmd/derper serves it (cmd/derper itself needs modules that ours does not).",
		},
		{metric: "relayed TCP, CPU of the relay", unit: "s/GB", ours: a.firsts, peer: d.firsts, target: &target{limit: 0.8}},
		{metric: "relayed TCP, CPU of relay and both ends", unit: "s/GB", ours: a.cpus, peer: d.cpus},
	}, nil
}

func sampled(into *collected, measure func() (sample, error)) error {
	got, err := measure()
	if err == nil {
		into.add(got)
	}
	return err
}
