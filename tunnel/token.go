package tunnel

// SetToken goes on with another token of the same user, at once: whatever runs
// goes on running, and what waits with the old token tries again. A token of
// another user is for a tunnel of its own: here it is found out only when the
// control plane is next asked who we are, and then the data plane is made anew.
func (t *Tunnel) SetToken(token Token) {
	t.mu.Lock()
	t.token = token
	t.saved.TokenSum = tokenSum(token)
	before := t.facts
	t.facts.control.told = nil // it may have been about the old one
	if !t.facts.names && hopeless(t.facts.control.err) {
		t.facts.control.err = nil // it was about the old one, and nothing else is known
	}
	if !before.same(t.facts) {
		t.notify()
	}
	running := t.live
	t.mu.Unlock()
	if running != nil && running.saveSoon != nil {
		running.saveSoon()
	}
	t.Kick()
}

// presentToken is the one to use for the next request.
func (t *Tunnel) presentToken() Token {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token
}

// profile is the tunnel's, with the present token; t.mu is held.
func (t *Tunnel) profile() Profile {
	profile := t.config.Profile
	profile.Token = t.token
	return profile
}

// dialToken is the token for a dial of the control loop, which is remembered.
func (s *session) dialToken() string {
	s.tunnel.mu.Lock()
	defer s.tunnel.mu.Unlock()
	s.dialed = s.tunnel.token
	return string(s.dialed)
}

// heard takes what becomes of the control connection, and dials at once if the
// token that was refused is not the present one.
func (s *session) heard(connected bool, err error) {
	s.controlChanged(connected, err)
	s.tunnel.headers.heard(err)
	if s.outdated(err) {
		s.loop.Kick()
	}
}

// outdated says whether a refusal is of a token that has been replaced since:
// the kick that came with the new one may have been spent on that very dial.
func (s *session) outdated(err error) bool {
	s.tunnel.mu.Lock()
	defer s.tunnel.mu.Unlock()
	return hopeless(err) && s.dialed != s.tunnel.token
}
