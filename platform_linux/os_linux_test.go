package platform

import (
	"testing"
	"time"

	"github.com/causewayhq/causeway/netcfg"
)

func TestApplyAndClear(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, log := newTestOS(t, t.TempDir(), "")
	openTUN(t, "cwtest0")
	before := snapshot(t)
	want := testConfig("cwtest0")
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := o.DNSMode(); got != ModeHosts {
		t.Errorf("mode %q", got)
	}
	addresses := ip(t, "addr", "show", "dev", "cwtest0")
	mustContain(t, addresses, "inet6 "+testAddress)
	mustContain(t, addresses, "nodad")
	mustLack(t, addresses, "fe80")
	mustLack(t, addresses, "tentative")
	mustContain(t, ip(t, "-6", "route"), testPrefix+" dev cwtest0 proto 173 ")
	eventually(t, "the name is in the hosts file", func() bool {
		found, err := o.Lookup(t.Context(), "main.myws.me.coder")
		return err == nil && len(found) == 1 && found[0] == want.DNS.Hosts[0].Addr
	})

	applied := log.String()
	for range 3 {
		if err := o.Apply(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	if again := log.String(); again != applied {
		t.Errorf("applying the same again did something:\n%s", again[len(applied):])
	}

	if err := o.Apply(t.Context(), netcfg.Config{}); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if left := o.journal.Entries(); len(left) != 0 {
		t.Errorf("journal: %+v", left)
	}
	_ = time.Now
}
