package platform

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// scutilPath is that of scutil(8), which shows all resolvers of the system,
// also those that another program has in the dynamic store.
const scutilPath = "/usr/sbin/scutil"

// rivalsInterval is how often it is asked while nothing changes.
const rivalsInterval = time.Minute

// resolver is one block of the output of "scutil --dns".
type resolver struct {
	domain  string
	servers []string
	link    string
}

// parseResolvers reads that output, without the part on scoped queries, which
// concern sockets bound to one interface.
func parseResolvers(output string) []resolver {
	var list []resolver
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "DNS configuration (for scoped") {
			break
		}
		if strings.HasPrefix(line, "resolver #") {
			list = append(list, resolver{})
			continue
		}
		key, value, found := strings.Cut(line, " : ")
		if !found || len(list) == 0 {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		r := &list[len(list)-1]
		switch {
		case key == "domain":
			r.domain = strings.ToLower(strings.TrimSuffix(value, "."))
		case strings.HasPrefix(key, "nameserver["):
			r.servers = append(r.servers, value)
		case key == "if_index":
			if _, name, found := strings.Cut(value, "("); found {
				r.link = strings.TrimSuffix(name, ")")
			}
		}
	}
	return list
}

// rivals describes the resolvers that claim one of our suffixes, or names below
// it, and ask others than our servers.
func rivals(list []resolver, suffixes []string, servers []netip.Addr) []string {
	var found []string
	for _, r := range list {
		claims := slices.ContainsFunc(suffixes, func(s string) bool { return r.domain == s || strings.HasSuffix(r.domain, "."+s) })
		foreign := slices.ContainsFunc(r.servers, func(text string) bool {
			a, err := netip.ParseAddr(text)
			return err != nil || !slices.Contains(servers, a)
		})
		if !claims || !foreign {
			continue
		}
		text := fmt.Sprintf("another program has %s ask %s", r.domain, strings.Join(r.servers, ", "))
		if r.link != "" {
			text += " by " + r.link
		}
		found = append(found, text+" (see: scutil --dns); our answers may not be used")
	}
	return found
}

// lookForRivals asks the system who else has our names. That it cannot be told
// is no trouble.
func (o *OS) lookForRivals(ctx context.Context, suffixes []string, servers []netip.Addr) {
	o.stateMu.Lock()
	due := time.Since(o.rivalsAt) >= rivalsInterval
	if len(suffixes) == 0 {
		o.rivals, o.rivalsAt, due = nil, time.Time{}, false
	}
	o.stateMu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	output, err := o.system.Run(ctx, scutilPath, "--dns")
	if err != nil {
		o.log.Debug("cannot list the system's resolvers", slog.String("error", err.Error()))
	}
	o.stateMu.Lock()
	defer o.stateMu.Unlock()
	o.rivals, o.rivalsAt = rivals(parseResolvers(output), suffixes, servers), time.Now()
}
