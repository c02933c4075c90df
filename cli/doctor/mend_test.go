package doctor

import (
	"errors"
	"slices"
	"testing"
)

func TestRepair(t *testing.T) {
	for name, test := range map[string]struct {
		broken func(*Facts)
		root   bool
		fails  error
		did    []string
		done   bool
		err    error
	}{
		"start":            {noDaemon("inactive", ""), true, nil, []string{"start", "settle"}, true, nil},
		"start, not root":  {noDaemon("inactive", ""), false, nil, nil, false, ErrNeedsRoot},
		"start fails":      {noDaemon("inactive", ""), true, errors.ErrUnsupported, []string{"start"}, false, errors.ErrUnsupported},
		"apply":            {func(f *Facts) { f.Names.Resolved.Domains = nil }, false, nil, []string{"apply", "settle"}, true, nil},
		"cycle":            {func(f *Facts) { f.Host = Host{Interface: "causeway0"} }, false, nil, []string{"cycle", "settle"}, true, nil},
		"open":             {func(f *Facts) { f.Daemon.Socket.Mode = 0o600 }, true, nil, []string{"open", "settle"}, true, nil},
		"foreign":          {astray(Route{Interface: "tun7", Prefix: "fd60::/16"}), true, nil, nil, false, nil},
		"foreign resolver": {bypass("resolved", true), true, nil, nil, false, nil},
		"healthy":          {func(*Facts) {}, true, nil, nil, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			host := &fakeHost{facts: wellFacts(), fails: test.fails, mended: func(f *Facts) { *f = wellFacts() }}
			test.broken(&host.facts)
			before := Examine(t.Context(), host, func(Outcome) {})
			mended := Repair(t.Context(), before, host, test.root)
			after := Examine(t.Context(), host, func(Outcome) {})
			mended = Confirm(mended, after)
			if !slices.Equal(host.did, test.did) {
				t.Errorf("did %v, want %v", host.did, test.did)
			}
			if len(mended) == 0 {
				if test.done || test.err != nil {
					t.Error("nothing was mended")
				}
				return
			}
			if len(mended) != 1 || mended[0].Done != test.done || !errors.Is(mended[0].Err, test.err) {
				t.Errorf("mended %+v", mended)
			}
			if calm := Calm(mended, before, after); calm != (test.done || errors.Is(test.err, ErrNeedsRoot)) {
				t.Errorf("Calm() = %v", calm)
			}
		})
	}
}

// TestRepairThatDoesNotHelp: done is what a second look finds, not what was
// tried.
func TestRepairThatDoesNotHelp(t *testing.T) {
	host := &fakeHost{facts: wellFacts()}
	host.facts.Names.Resolved.Domains = nil
	before := Examine(t.Context(), host, func(Outcome) {})
	mended := Confirm(Repair(t.Context(), before, host, true), Examine(t.Context(), host, func(Outcome) {}))
	if len(mended) != 1 || mended[0].Done || mended[0].Err == nil {
		t.Errorf("mended %+v", mended)
	}
}

// TestOneRepairForAll: what two checks call for is done once.
func TestOneRepairForAll(t *testing.T) {
	host := &fakeHost{facts: wellFacts(), mended: func(f *Facts) { *f = wellFacts() }}
	host.facts.Names.Resolved.LinkTLS, host.facts.Names.Resolved.Domains = "yes", nil
	mended := Repair(t.Context(), Examine(t.Context(), host, func(Outcome) {}), host, false)
	if len(mended) != 2 || !slices.Equal(host.did, []string{"apply", "settle"}) {
		t.Errorf("did %v for %+v", host.did, mended)
	}
}
