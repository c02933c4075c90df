package service

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"net/netip"
	"os"
	"strings"
)

const resolvConf = "/etc/resolv.conf"

// networkParts are the files about the network: the system's own, as it has them.
func networkParts() []part {
	parts := []part{{"network/interfaces.txt", interfaces}, {"network/routes.txt", routes}}
	for name, path := range map[string]string{"network/resolv.conf": resolvConf, "network/nsswitch.conf": "/etc/nsswitch.conf"} {
		parts = append(parts, part{name, func(context.Context) ([]byte, error) {
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			}
			return data, err
		}})
	}
	return parts
}

// searchDomains are the names of the network that resolv.conf tells.
func searchDomains() []string {
	data, err := os.ReadFile(resolvConf)
	if err != nil {
		return nil
	}
	var domains []string
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) > 1 && (words[0] == "search" || words[0] == "domain") {
			domains = append(domains, words[1:]...)
		}
	}
	return domains
}

// routes are those of the main table, as the kernel tells them in /proc.
func routes(context.Context) ([]byte, error) {
	var out bytes.Buffer
	four, err4 := os.ReadFile("/proc/net/route")
	for line := range strings.Lines(string(four)) {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] == "Iface" {
			continue
		}
		mask := kernel4(f[7]).As4()
		fmt.Fprintf(&out, "%s/%d via %s dev %s metric %s\n", kernel4(f[1]), bits.OnesCount32(binary.BigEndian.Uint32(mask[:])), kernel4(f[2]), f[0], f[6])
	}
	six, err6 := os.ReadFile("/proc/net/ipv6_route")
	for line := range strings.Lines(string(six)) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		fmt.Fprintf(&out, "%s/%d via %s dev %s metric %d\n", kernel6(f[0]), number16(f[1]), kernel6(f[4]), f[9], number16(f[5]))
	}
	return out.Bytes(), errors.Join(err4, err6)
}

// kernel4 is an address as /proc/net/route has it: hexadecimal, in the byte
// order of the machine, which is little-endian wherever we run.
func kernel4(text string) netip.Addr {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 4 {
		return netip.IPv4Unspecified()
	}
	return netip.AddrFrom4([4]byte{raw[3], raw[2], raw[1], raw[0]})
}

func kernel6(text string) netip.Addr {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 16 {
		return netip.IPv6Unspecified()
	}
	return netip.AddrFrom16([16]byte(raw))
}

// number16 is a hexadecimal number; 0 for what is none.
func number16(text string) uint32 {
	var number uint32
	_, _ = fmt.Sscanf(text, "%x", &number)
	return number
}
