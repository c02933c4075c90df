package relaybridge

// count changes the number of connections that stand.
func (b *Bridge) count(region, by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.carried[region] += by
}

// Carries says whether the region's relays are reached through the bridge, and
// whether a connection to one of them stands. One that broke without a word
// stands until upstream misses the relay's keep-alives, after two minutes.
func (b *Bridge) Carries(region int) (bridged, stands bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bridged[region], b.carried[region] > 0
}
