package dns

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// cacheVersion is that of the file's format. There is no conversion: the names
// come back with the next snapshot.
const cacheVersion = 1

// cacheMagic begins the file. The sum of everything after the first line
// follows it in hexadecimal; then comes a line with the header, then the names,
// one "name address" per line, sorted.
const cacheMagic = "causeway names "

type cacheHeader struct {
	Version    int      `json:"version"`
	Deployment string   `json:"deployment"`
	User       string   `json:"user"`
	Suffixes   []string `json:"suffixes"`
	Count      int      `json:"count"`
}

func encodeCache(names Names, owner CacheOwner) ([]byte, error) {
	if len(names.Hosts) > maxCacheEntries {
		return nil, ErrCacheTooLarge
	}
	lines := make([]string, 0, len(names.Hosts))
	for name, addr := range names.Hosts {
		if !cacheable(name, addr) {
			return nil, fmt.Errorf("entry %q %s cannot be kept", name, addr)
		}
		lines = append(lines, name+" "+addr.String()+"\n")
	}
	slices.Sort(lines)
	body := strings.Join(lines, "")
	suffixes := names.Suffixes
	if suffixes == nil {
		suffixes = []string{}
	}
	header, err := json.Marshal(cacheHeader{
		Version: cacheVersion, Deployment: owner.Deployment, User: owner.User, Suffixes: suffixes, Count: len(lines),
	})
	if err != nil {
		return nil, err
	}
	content := signCache(string(header) + "\n" + body)
	if len(content) > maxCacheBytes {
		return nil, ErrCacheTooLarge
	}
	return content, nil
}

// signCache puts the first line in front. The sum is against damage, not
// against attackers: who can write here is root.
func signCache(rest string) []byte {
	sum := sha256.Sum256([]byte(rest))
	return []byte(cacheMagic + hex.EncodeToString(sum[:]) + "\n" + rest)
}

// cacheable is what a table could answer, less what would break a line.
func cacheable(name string, addr netip.Addr) bool {
	var scratch [maxName + 1]byte
	_, ok := appendWire(scratch[:0], name)
	return ok && !strings.ContainsAny(name, " \n\r") && addr.Is6() && !addr.Is4In6() && addr.Zone() == ""
}

func decodeCache(content []byte, owner CacheOwner) (Names, error) {
	if len(content) > maxCacheBytes {
		return Names{}, ErrCacheTooLarge
	}
	_, rest, ok := bytes.Cut(content, []byte("\n"))
	if !ok || !bytes.Equal(content, signCache(string(rest))) {
		return Names{}, ErrCacheCorrupt
	}
	first, body, ok := bytes.Cut(rest, []byte("\n"))
	var header cacheHeader
	if !ok || json.Unmarshal(first, &header) != nil {
		return Names{}, ErrCacheCorrupt
	}
	switch {
	case header.Version != cacheVersion:
		return Names{}, fmt.Errorf("%w: %d, not %d", ErrCacheVersion, header.Version, cacheVersion)
	case header.Deployment != owner.Deployment || header.User != owner.User:
		return Names{}, ErrCacheForeign
	case header.Count > maxCacheEntries:
		return Names{}, ErrCacheTooLarge
	case header.Count != bytes.Count(body, []byte("\n")):
		return Names{}, ErrCacheCorrupt
	}
	names := Names{Suffixes: header.Suffixes, Hosts: make(map[string]netip.Addr, header.Count)}
	for line := range strings.Lines(string(body)) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		addr, err := netip.ParseAddr(text)
		if err != nil || !cacheable(name, addr) {
			return Names{}, ErrCacheCorrupt
		}
		names.Hosts[name] = addr
	}
	if len(names.Hosts) != header.Count {
		return Names{}, ErrCacheCorrupt
	}
	return names, nil
}
