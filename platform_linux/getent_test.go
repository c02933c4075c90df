package platform

import (
	"net/netip"
	"slices"
	"testing"
)

func TestParseGetent(t *testing.T) {
	const output = "fd60:627a:a42b::1 STREAM main.ws.me.coder\nfd60:627a:a42b::1 DGRAM  \nfd60:627a:a42b::1 RAW    \n::ffff:192.0.2.7 STREAM \n"
	got, err := parseGetent(output)
	want := []netip.Addr{netip.MustParseAddr("fd60:627a:a42b::1"), netip.MustParseAddr("192.0.2.7")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
	if got, err := parseGetent("\n \n"); err != nil || got != nil {
		t.Errorf("%v %v", got, err)
	}
	if _, err := parseGetent("no address"); err == nil {
		t.Error("took garbage")
	}
}

func FuzzGetent(f *testing.F) {
	f.Add("::1 STREAM localhost\n")
	f.Fuzz(func(t *testing.T, output string) {
		list, err := parseGetent(output)
		for _, a := range list {
			if !a.IsValid() || a.Is4In6() || err != nil {
				t.Errorf("%v %v", list, err)
			}
		}
	})
}
