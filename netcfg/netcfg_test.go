package netcfg

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

var oneHost = ListHosts(Host{"main.ws.me.coder", netip.MustParseAddr("fd60:627a:a42b:1::2")})

func full() Config {
	return Config{
		Interface: "causeway0", MTU: 1280,
		Addresses: prefixes("fd60:627a:a42b:1::1/128"),
		Routes:    prefixes("fd60:627a:a42b::/48"),
		DNS: DNS{
			Nameservers: []netip.Addr{netip.MustParseAddr("fd60:627a:a42b::53")},
			Suffixes:    []string{"coder"},
			Hosts:       oneHost,
		},
	}
}

func TestDiff(t *testing.T) {
	tests := []struct {
		name       string
		have, want Config
		changes    Changes
	}{
		{"nothing to nothing", Config{}, Config{}, Changes{}},
		{"same", full(), full(), Changes{}},
		{"from nothing", Config{}, full(), Changes{AddAddresses: full().Addresses, AddRoutes: full().Routes, MTU: true, DNS: true}},
		{"to nothing", full(), Config{}, Changes{RemoveAddresses: full().Addresses, RemoveRoutes: full().Routes, DNS: true}},
		{
			"another address, sorted and once",
			Config{Addresses: prefixes("fd00::9/128", "fd00::1/128")},
			Config{Addresses: prefixes("fd00::5/128", "fd00::2/128", "fd00::5/128", "fd00::1/128")},
			Changes{AddAddresses: prefixes("fd00::2/128", "fd00::5/128"), RemoveAddresses: prefixes("fd00::9/128")},
		},
		{"a longer prefix is another", Config{Routes: prefixes("fd00::/48")}, Config{Routes: prefixes("fd00::/64")}, Changes{AddRoutes: prefixes("fd00::/64"), RemoveRoutes: prefixes("fd00::/48")}},
		{"host bits of a route mean nothing", Config{Routes: prefixes("fd00::1/48")}, Config{Routes: prefixes("fd00::/48")}, Changes{}},
		{"MTU 0 leaves it", Config{MTU: 1500}, Config{}, Changes{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Diff(test.have, test.want)
			if !reflect.DeepEqual(got, test.changes) {
				t.Errorf("got  %+v\nwant %+v", got, test.changes)
			}
			if got.IsZero() != reflect.DeepEqual(got, Changes{}) {
				t.Error("IsZero disagrees")
			}
		})
	}
}

func TestEqual(t *testing.T) {
	changes := map[string]func(*Config){
		"interface": func(c *Config) { c.Interface = "x" },
		"MTU":       func(c *Config) { c.MTU++ },
		"address":   func(c *Config) { c.Addresses = nil },
		"route":     func(c *Config) { c.Routes = append(c.Routes, netip.MustParsePrefix("fd01::/48")) },
		"server":    func(c *Config) { c.DNS.Nameservers = nil },
		"suffix":    func(c *Config) { c.DNS.Suffixes = []string{"other"} },
		"host":      func(c *Config) { c.DNS.Hosts = ListHosts(Host{"b.coder", netip.MustParseAddr("fd00::1")}) },
	}
	for name, change := range changes {
		c := full()
		change(&c)
		if c.Equal(full()) || full().Equal(c) {
			t.Errorf("a changed %s is equal", name)
		}
	}
	a, b := full(), full()
	a.DNS.Suffixes, b.DNS.Suffixes = []string{"a", "b"}, []string{"b", "a", "b"}
	if !a.Equal(b) {
		t.Error("order of sets matters")
	}
	if clone := a.Clone(); !clone.Equal(a) {
		t.Error("a clone differs")
	}
	a.DNS.Hosts = nil
	if !a.DNS.SplitEqual(b.DNS) || a.DNS.Equal(b.DNS) {
		t.Error("hosts are part of split DNS")
	}
}

func TestCloneSharesNothing(t *testing.T) {
	original := full()
	clone := original.Clone()
	clone.Addresses[0], clone.Routes[0] = netip.Prefix{}, netip.Prefix{}
	clone.DNS.Nameservers[0], clone.DNS.Suffixes[0], clone.DNS.Hosts = netip.Addr{}, "", nil
	if !original.Equal(full()) {
		t.Error("the original changed")
	}
}

func TestValidate(t *testing.T) {
	if err := full().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	tests := []struct {
		say    string
		change func(*Config)
	}{
		{"need an interface", func(c *Config) { c.Interface = "" }},
		{"MTU 1279", func(c *Config) { c.MTU = 1279 }},
		{"MTU -1", func(c *Config) { c.MTU = -1 }},
		{"invalid Prefix", func(c *Config) { c.Addresses = []netip.Prefix{{}} }},
		{"::1/128", func(c *Config) { c.Addresses = prefixes("::1/128") }},
		{"ff02::1/128", func(c *Config) { c.Addresses = prefixes("ff02::1/128") }},
		{"fe80::1/64", func(c *Config) { c.Addresses = prefixes("fe80::1/64") }},
		{"all traffic of the host", func(c *Config) { c.Routes = prefixes("::/0") }},
		{"all traffic of the host", func(c *Config) { c.Routes = prefixes("0.0.0.0/0") }},
		{"host bits, fd00::/48 is meant", func(c *Config) { c.Routes = prefixes("fd00::1/48") }},
		{"invalid Prefix", func(c *Config) { c.Routes = []netip.Prefix{{}} }},
		{"global resolver", func(c *Config) { c.DNS.Suffixes = nil }},
		{"invalid IP", func(c *Config) { c.DNS.Nameservers[0] = netip.Addr{} }},
		{"fe80::1%eth0", func(c *Config) { c.DNS.Nameservers[0] = netip.MustParseAddr("fe80::1%eth0") }},
		{`suffix "" is empty`, func(c *Config) { c.DNS.Suffixes[0] = "" }},
		{`suffix "." begins or ends`, func(c *Config) { c.DNS.Suffixes[0] = "." }},
		{`suffix "coder." begins or ends`, func(c *Config) { c.DNS.Suffixes[0] = "coder." }},
		{`suffix "com" may not be claimed`, func(c *Config) { c.DNS.Suffixes[0] = "com" }},
		{`suffix "ip6.arpa" may not be claimed`, func(c *Config) { c.DNS.Suffixes[0] = "ip6.arpa" }},
		{`character 'C'`, func(c *Config) { c.DNS.Suffixes[0] = "Coder" }},
		{"label of 0 bytes", func(c *Config) { c.DNS.Suffixes[0] = "a..b" }},
		{"label of 64 bytes", func(c *Config) { c.DNS.Suffixes[0] = strings.Repeat("a", 64) }},
		{`character '/'`, func(c *Config) { c.DNS.Suffixes[0] = "a/../etc" }},
	}
	for _, test := range tests {
		c := full()
		test.change(&c)
		err := c.Validate()
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.say) {
			t.Errorf("want %q, got %v", test.say, err)
		}
	}
}

func TestValidateTakesOurReverseNames(t *testing.T) {
	c := full()
	c.DNS.Suffixes = append(c.DNS.Suffixes, "b.2.4.a.a.7.2.6.0.6.d.f.ip6.arpa")
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateReportsAll(t *testing.T) {
	c := full()
	c.MTU, c.DNS.Suffixes[0], c.Routes = 1, "A", prefixes("::/0")
	err := c.Validate()
	for _, part := range []string{"MTU", "suffix", "route"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no %s in %v", part, err)
		}
	}
}

// TestHostsAreCheckedWhenListed: nobody gets a list that would break a hosts
// file, and Validate does not make the list to find out.
func TestHostsAreCheckedWhenListed(t *testing.T) {
	addr := netip.MustParseAddr("fd00::1")
	tests := []struct {
		say  string
		host Host
	}{
		{"254 bytes", Host{strings.Repeat("a.", 127)[:254-1] + "a", addr}},
		{`character '\n'`, Host{"a\n127.0.0.1 bank.example", addr}},
		{"invalid IP", Host{"a.coder", netip.Addr{}}},
		{"fe80::1%eth0", Host{"a.coder", netip.MustParseAddr("fe80::1%eth0")}},
		{"", Host{"main_agent-1.main-workspace.admin.coder", addr}},
	}
	for _, test := range tests {
		list, err := ListHosts(Host{"good.coder", addr}, test.host).List()
		switch {
		case test.say == "":
			if err != nil || len(list) != 2 {
				t.Errorf("%v: %d listed, %v", test.host, len(list), err)
			}
		case !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.say) || list != nil:
			t.Errorf("want %q, got %v", test.say, err)
		}
	}
	if list, err := (*Hosts)(nil).List(); list != nil || err != nil {
		t.Errorf("no hosts are %v, %v", list, err)
	}
}

// TestHostsAreNotListed: whoever does not need the names does not pay for them.
func TestHostsAreNotListed(t *testing.T) {
	c := full()
	c.DNS.Hosts = NewHosts(func(func(Host) bool) { t.Error("the hosts were listed") })
	clone := c.Clone()
	if err := clone.Validate(); err != nil {
		t.Error(err)
	}
	if !c.Equal(clone) || !Diff(c, clone).IsZero() || c.DNS.IsZero() {
		t.Error("the clone differs")
	}
	if c.Equal(full()) || !Diff(c, full()).DNS {
		t.Error("other hosts are the same")
	}
}
