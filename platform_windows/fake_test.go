package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/netcfg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ourGUID = "{5d1f6c1e-83a7-4b0e-9c44-2ed760b115fa}"

// fakeHost is a Windows made of lines of text, one for each thing. Its order is
// that of the text; a transcript tells what was done to it.
//
//	link LUID NAME GUID up|down
//	family LUID IPv4|IPv6 metric=auto:N|N dad=N discovery=on|off managed=on|off mtu=N
//	address LUID PREFIX
//	route LUID PREFIX HOP METRIC [kernel]
//	key KEY
//	value KEY NAME number|text DATA
//	rule SUFFIX SERVER
//	client running|stopped|disabled
type fakeHost struct {
	lines      []string
	transcript []string
	refuse     func(step string) error
	trouble    error
}

var errDead = errors.New("the process has died")

func parseHost(text string) *fakeHost {
	h := &fakeHost{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			h.lines = append(h.lines, strings.ReplaceAll(line, "OURS", ourGUID))
		}
	}
	return h
}

// String is the host as text, sorted, with short names of the long keys.
func (h *fakeHost) String() string {
	list := slices.Sorted(slices.Values(h.lines))
	text := strings.Join(list, "\n")
	return strings.ReplaceAll(strings.NewReplacer(
		tcpipInterfaces, "Tcpip-", tcpip6Interfaces, "Tcpip6-", netbtInterfaces, "NetBT-").Replace(text), ourGUID, "OURS")
}

func sortedText(text string) string { return parseHost(text).String() }

// step writes a change down, unless the test has it fail.
func (h *fakeHost) step(format string, args ...any) error {
	step := fmt.Sprintf(format, args...)
	if h.refuse != nil {
		if err := h.refuse(step); err != nil {
			return err
		}
	}
	h.transcript = append(h.transcript, strings.ReplaceAll(strings.NewReplacer(
		tcpipInterfaces, "Tcpip-", tcpip6Interfaces, "Tcpip6-", netbtInterfaces, "NetBT-").Replace(step), ourGUID, "OURS"))
	return nil
}

func (h *fakeHost) find(prefix string) int {
	return slices.IndexFunc(h.lines, func(line string) bool { return line == prefix || strings.HasPrefix(line, prefix+" ") })
}

// fields of all lines of a kind, without the kind.
func (h *fakeHost) fields(kind string) [][]string {
	var list [][]string
	for _, line := range h.lines {
		if f := strings.Fields(line); f[0] == kind {
			list = append(list, f[1:])
		}
	}
	return list
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func (h *fakeHost) Snapshot() (snapshot, error) {
	var now snapshot
	for _, f := range h.fields("link") {
		now.Links = append(now.Links, link{LUID: luid(number(f[0])), Name: f[1], GUID: f[2], Up: f[3] == "up"})
	}
	for _, f := range h.fields("address") {
		now.Addresses = append(now.Addresses, address{LUID: luid(number(f[0])), Prefix: netip.MustParsePrefix(f[1])})
	}
	for _, f := range h.fields("route") {
		r := route{LUID: luid(number(f[0])), Prefix: netip.MustParsePrefix(f[1]), NextHop: netip.MustParseAddr(f[2]), Metric: uint32(number(f[3]))}
		r.Kernel = len(f) > 4 && f[4] == "kernel"
		now.Routes = append(now.Routes, r)
	}
	return now, nil
}

func (h *fakeHost) Family(id luid, f family) (settings, error) {
	i := h.find(fmt.Sprintf("family %d %s", id, f))
	if i < 0 {
		return settings{}, errMissing
	}
	var s settings
	for _, word := range strings.Fields(h.lines[i])[3:] {
		name, data, _ := strings.Cut(word, "=")
		switch name {
		case "metric":
			data, s.AutomaticMetric = strings.TrimPrefix(data, "auto:"), strings.HasPrefix(data, "auto:")
			s.Metric = uint32(number(data))
		case "dad":
			s.DADTransmits = uint32(number(data))
		case "discovery":
			s.RouterDiscovery = data == "on"
		case "managed":
			s.ManagedAddresses = data == "on"
		case "mtu":
			s.MTU = uint32(number(data))
		}
	}
	return s, nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (h *fakeHost) SetFamily(id luid, f family, s settings) error {
	i := h.find(fmt.Sprintf("family %d %s", id, f))
	if i < 0 {
		return errMissing
	}
	metric := strconv.Itoa(int(s.Metric))
	if s.AutomaticMetric {
		metric = "auto:" + metric
	}
	line := fmt.Sprintf("family %d %s metric=%s dad=%d discovery=%s managed=%s mtu=%d",
		id, f, metric, s.DADTransmits, onOff(s.RouterDiscovery), onOff(s.ManagedAddresses), s.MTU)
	if err := h.step("set %s", line); err != nil {
		return err
	}
	h.lines[i] = line
	return nil
}

func (h *fakeHost) add(line string) error {
	if err := h.step("add %s", line); err != nil {
		return err
	}
	h.lines = append(h.lines, line)
	return nil
}

func (h *fakeHost) remove(prefix string) error {
	i := h.find(prefix)
	if i < 0 {
		return errMissing
	}
	if err := h.step("remove %s", prefix); err != nil {
		return err
	}
	h.lines = slices.Delete(h.lines, i, i+1)
	return nil
}

func (h *fakeHost) AddAddress(id luid, p netip.Prefix) error {
	for _, f := range h.fields("address") {
		if netip.MustParsePrefix(f[1]).Addr() == p.Addr() {
			return errExists
		}
	}
	return h.add(fmt.Sprintf("address %d %s", id, p))
}

func (h *fakeHost) RemoveAddress(id luid, p netip.Prefix) error {
	return h.remove(fmt.Sprintf("address %d %s", id, p))
}

func (h *fakeHost) AddRoute(id luid, p netip.Prefix) error {
	hop := netip.IPv6Unspecified()
	if p.Addr().Is4() {
		hop = netip.IPv4Unspecified()
	}
	if h.find(fmt.Sprintf("route %d %s %s", id, p, hop)) >= 0 {
		return errExists
	}
	return h.add(fmt.Sprintf("route %d %s %s 0", id, p, hop))
}

func (h *fakeHost) RemoveRoute(id luid, r route) error {
	return h.remove(fmt.Sprintf("route %d %s %s", id, r.Prefix, r.NextHop))
}

func (h *fakeHost) ClearServers(guid string, f family) error {
	if err := h.step("clear servers of %s %s", guid, f); err != nil {
		return err
	}
	for _, name := range []string{"NameServer", "SearchList"} {
		if i := h.find("value " + interfaceKey(guid, f) + " " + name); i >= 0 {
			h.lines[i] = "value " + interfaceKey(guid, f) + " " + name + " text"
		}
	}
	return nil
}

func (h *fakeHost) Value(key, name string) (value, error) {
	i := h.find("value " + key + " " + name)
	if i < 0 {
		return value{}, errMissing
	}
	f := append(strings.Fields(h.lines[i]), "")
	return value{Key: key, Name: name, Text: f[3] == "text", Data: f[4]}, nil
}

func (h *fakeHost) SetValue(v value) error {
	if h.find("key "+v.Key) < 0 {
		return errMissing
	}
	kind := "number"
	if v.Text {
		kind = "text"
	}
	line := strings.TrimSpace(fmt.Sprintf("value %s %s %s %s", v.Key, v.Name, kind, v.Data))
	if err := h.step("set %s", line); err != nil {
		return err
	}
	if i := h.find("value " + v.Key + " " + v.Name); i >= 0 {
		h.lines[i] = line
	} else {
		h.lines = append(h.lines, line)
	}
	return nil
}

func (h *fakeHost) DeleteValue(key, name string) error {
	if err := h.remove("value " + key + " " + name); !errors.Is(err, errMissing) {
		return err
	}
	return nil
}

func (h *fakeHost) Client() (client, error) {
	for _, f := range h.fields("client") {
		switch f[0] {
		case "stopped":
			return clientStopped, nil
		case "disabled":
			return clientDisabled, nil
		}
	}
	return clientRunning, nil
}

// fakeRules keep their rules on the fake host.
type fakeRules struct{ *fakeHost }

func (r fakeRules) SetDNS(_ context.Context, suffixes []string, servers []netip.Addr) error {
	for _, s := range suffixes {
		if line := "rule ." + s + " " + servers[0].String(); r.find(line) < 0 {
			if err := r.add(line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r fakeRules) Cleanup(context.Context) error {
	for _, f := range r.fields("rule") {
		if f[0] != "." {
			if err := r.remove("rule " + f[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (fakeRules) Recheck(context.Context) error { return nil }
func (r fakeRules) Trouble() error              { return r.trouble }

const foreignHosts = "127.0.0.1 localhost\r\n"

// open is a process on the host; a second one finds what the first left.
func (h *fakeHost) open(t *testing.T, dir string) *OS {
	t.Helper()
	file := filepath.Join(dir, "hosts")
	if _, err := os.Stat(file); err != nil {
		if err := os.WriteFile(file, []byte(foreignHosts), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o, err := assemble(parts{
		logger: slog.New(slog.DiscardHandler), stateDir: dir, system: h, file: file, guid: ourGUID,
		rules: func(*netcfg.Journal) rules { return fakeRules{h} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func (fakeRules) Flush(context.Context) error { return nil }
