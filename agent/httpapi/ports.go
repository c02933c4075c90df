package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

const (
	// portsFresh is how long an answer is used again: a scan looks at every file
	// that every process of the user has open, and callers ask each second.
	portsFresh = 2 * time.Second
	// scanLimit bounds one scan.
	scanLimit = 10 * time.Second
)

// Port is a TCP port on which a program of the workspace listens.
type Port struct {
	ProcessName string `json:"process_name"` // "": of somebody else
	Network     string `json:"network"`
	Port        uint16 `json:"port"`
}

// hidden are ports of services that are no part of anybody's work (docs of the
// protocol, 5.1), besides those below 9, which are not forwarded.
var hidden = map[uint16]bool{
	20: true, 21: true, 22: true, 23: true, 25: true, 53: true, 110: true, 143: true, 179: true, 389: true, 465: true, 587: true, 636: true,
	989: true, 990: true, 993: true, 995: true, 3306: true, 3389: true, 5432: true, 27017: true, 27018: true, 27019: true, 28017: true,
}

// firstShown is the first port that the agent forwards.
const firstShown = 9

// listener is one socket that listens.
type listener struct {
	address string
	port    uint32
	pid     int32
}

// portCache answers many callers with one scan.
type portCache struct {
	scan func(context.Context) ([]Port, error)

	mu    sync.Mutex
	at    time.Time
	ports []Port
	err   error
}

func (c *portCache) get(ctx context.Context) ([]Port, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < portsFresh {
		return c.ports, c.err
	}
	ctx, cancel := context.WithTimeout(ctx, scanLimit)
	defer cancel()
	c.ports, c.err = c.scan(ctx)
	c.at = time.Now()
	return c.ports, c.err
}

func (s *Server) listeningPorts(w http.ResponseWriter, _ *http.Request) {
	// Not the request's context: the answer is for others too.
	ports, err := s.ports.get(s.ctx)
	if err != nil {
		fail(w, http.StatusInternalServerError, "The listening ports cannot be read.", err)
		return
	}
	write(w, http.StatusOK, struct {
		Ports []Port `json:"ports"`
	}{ports})
}

// listening asks the system.
func listening(ctx context.Context) ([]Port, error) {
	sockets, err := connections(ctx, "tcp")
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	var found []listener
	for _, socket := range sockets {
		if socket.Status == "LISTEN" {
			found = append(found, listener{socket.Laddr.IP, socket.Laddr.Port, socket.Pid})
		}
	}
	names := map[int32]string{}
	found = slices.DeleteFunc(found, own)
	return shown(found, func(pid int32) string {
		name, known := names[pid]
		if !known && pid > 0 {
			if one, err := process.NewProcessWithContext(ctx, pid); err == nil {
				name, _ = one.NameWithContext(ctx) // it may have ended
			}
			names[pid] = name
		}
		return name
	}), nil
}

// own are the agent's listeners, which are nobody's work: where it takes
// connections of its relay, for example.
func own(one listener) bool { return int(one.pid) == os.Getpid() }

// shown are the ports that a caller is to see, each once, in order: those which
// the agent forwards, and which listen where it forwards to.
func shown(found []listener, name func(pid int32) string) []Port {
	ports := map[uint16]Port{}
	for _, each := range found {
		if each.port < firstShown || each.port > math.MaxUint16 || hidden[uint16(each.port)] || !forwardedTo(each.address) {
			continue
		}
		number := uint16(each.port)
		if ports[number].ProcessName == "" {
			ports[number] = Port{ProcessName: name(each.pid), Network: "tcp", Port: number}
		}
	}
	out := make([]Port, 0, len(ports))
	for _, port := range ports {
		out = append(out, port)
	}
	slices.SortFunc(out, func(a, b Port) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

// forwardedTo says whether connections to localhost arrive at an address; the
// systems write "any" in different ways.
func forwardedTo(address string) bool {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return address == "*" || address == ""
	}
	addr = addr.Unmap()
	return addr.IsUnspecified() || addr == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || addr == netip.IPv6Loopback()
}
