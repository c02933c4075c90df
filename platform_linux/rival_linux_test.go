package platform

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestRivals has other programs lead parts of our prefix away, in each way that
// there is, and names them.
func TestRivals(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, log := newTestOS(t, t.TempDir(), "")
	openTUN(t, "cwriv0")
	openTUN(t, "vpn0")
	ip(t, "link", "set", "vpn0", "up")
	ip(t, "addr", "add", "fd99::1/64", "dev", "vpn0", "nodad")
	watch(t, o)
	if err := o.Apply(t.Context(), testConfig("cwriv0")); err != nil {
		t.Fatal(err)
	}
	for _, rival := range []struct {
		name, add, remove string
		words             []string
	}{
		{"default route", "-6 route add default dev vpn0 metric 1", "-6 route del default dev vpn0", nil},
		{"its own prefix", "-6 route add fd77::/48 dev vpn0", "-6 route del fd77::/48 dev vpn0", nil},
		{"part of ours", "-6 route add fd60:627a:a42b:7::/64 dev vpn0 proto static", "-6 route del fd60:627a:a42b:7::/64 dev vpn0",
			[]string{"send packets for fd60:627a:a42b:7::/64 to cwriv0", "interface vpn0 (protocol 4, table 254)", "its route fd60:627a:a42b:7::/64"}},
		{"the same with a better metric", "-6 route add " + testPrefix + " dev vpn0 metric 1", "-6 route del " + testPrefix + " dev vpn0",
			[]string{"interface vpn0", "its route " + testPrefix}},
		{"to nowhere", "-6 route add unreachable fd60:627a:a42b:9::/64 dev lo", "-6 route del unreachable fd60:627a:a42b:9::/64 dev lo",
			[]string{"fd60:627a:a42b:9::/64", "the kernel refuses them"}},
		{"a table that no rule leads to", "-6 route add fd60:627a:a42b:7::/64 dev vpn0 table 77", "-6 route del fd60:627a:a42b:7::/64 dev vpn0 table 77", nil},
	} {
		ip(t, strings.Fields(rival.add)...)
		if rival.words == nil {
			if err := o.again(t.Context(), false); err != nil || o.Trouble() != nil {
				t.Errorf("%s: %v %v", rival.name, err, o.Trouble())
			}
		} else {
			began := time.Now()
			eventually(t, rival.name+" is named", func() bool { return o.Trouble() != nil })
			t.Logf("%s: named after %v", rival.name, time.Since(began))
			for _, word := range rival.words {
				mustContain(t, o.Trouble().Error(), word)
			}
		}
		ip(t, strings.Fields(rival.remove)...)
		eventually(t, "no trouble without "+rival.name, func() bool { return o.Trouble() == nil })
	}
	ip(t, "-6", "route", "add", "default", "dev", "vpn0", "table", "77")
	ip(t, "-6", "rule", "add", "pref", "99", "lookup", "77")
	eventually(t, "a policy rule is named", func() bool { return o.Trouble() != nil })
	mustContain(t, o.Trouble().Error(), "interface vpn0 (protocol 3, table 77) takes them by its default route, by policy rule 99")
	ip(t, "-6", "rule", "del", "pref", "99")
	eventually(t, "no trouble without the rule", func() bool { return o.Trouble() == nil })
	mustContain(t, log.String(), "another program leads packets of ours away")
	mustContain(t, ip(t, "-6", "route"), testPrefix+" dev cwriv0 proto 173")
}

// TestIPv6ComesBack: the cause is named, and what follows is back at once.
func TestIPv6ComesBack(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, _ := newTestOS(t, t.TempDir(), "")
	openTUN(t, "cwsix0")
	watch(t, o)
	if err := o.Apply(t.Context(), testConfig("cwsix0")); err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{"all", "cwsix0"} {
		path := "/proc/sys/net/ipv6/conf/" + scope + "/disable_ipv6"
		set := func(value string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { set("0") })
		set("1")
		eventually(t, "the cause is named", func() bool {
			err := o.Trouble()
			return err != nil && strings.Contains(err.Error(), path+" is 1")
		})
		if !o.hostsMarked() {
			t.Error("the names went too")
		}
		began := time.Now()
		set("0")
		eventually(t, "it heals by itself", func() bool {
			return strings.Contains(ip(t, "-6", "route"), testPrefix+" dev cwsix0 proto 173") &&
				strings.Contains(ip(t, "addr", "show", "dev", "cwsix0"), testAddress) && o.Trouble() == nil
		})
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: it took %v", scope, took)
		}
	}
}
