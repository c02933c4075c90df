package relaybridge

// count changes the number of connections that stand.
func (b *Bridge) count(region, by int) {
	b.mu.Lock()
	b.carried[region] += by
	b.mu.Unlock()
	if b.config.Carried != nil {
		b.config.Carried()
	}
}

// Carries says whether the region's relays are reached through the bridge, and
// whether a connection to one of them stands. One that broke without a word
// stands until upstream misses the relay's keep-alives, after two minutes.
func (b *Bridge) Carries(region int) (bridged, stands bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bridged[region], b.carried[region] > 0
}
