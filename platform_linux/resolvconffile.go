package platform

import (
	"errors"
	"net/netip"
	"strings"
)

// The section of ours in resolv.conf is whole lines between these two, at the
// very top: libc asks the servers in their order. All else in the file is
// somebody's and stays as it is, byte for byte, also what would come back if
// an old copy were restored: so there is no copy.
const (
	resolvStart = "# >>> causeway: its name server, first of all. This part is rewritten and removed, edit outside of it."
	resolvEnd   = "# <<< causeway"
	// resolvStartMark is what all versions of resolvStart begin with.
	resolvStartMark = "# >>> causeway"

	// resolvOptions: after a second without an answer libc asks the next
	// server, so that public names survive us (resolv.conf(5); 5 s is the
	// default). They stand before the options of others, which override them.
	resolvOptions = "options timeout:1 attempts:2"

	// maxResolvConf is far beyond any real file.
	maxResolvConf = 1 << 20
)

// errNotText refuses what is no resolv.conf.
var errNotText = errors.New("is not a text file, or far too long")

// addServers puts our servers on top, in place of a section that is there.
func addServers(content string, servers []netip.Addr) (string, error) {
	if len(content) > maxResolvConf || strings.ContainsRune(content, 0) {
		return "", errNotText
	}
	var section strings.Builder
	section.WriteString(resolvStart + "\n")
	for _, s := range servers {
		section.WriteString("nameserver " + s.String() + "\n")
	}
	section.WriteString(resolvOptions + "\n" + resolvEnd + "\n")
	return section.String() + removeServers(content), nil
}

// removeServers takes our sections out. One that does not end as we end it is
// ours as far as its lines are what we write.
func removeServers(content string) string {
	if !strings.Contains(content, resolvStartMark) {
		return content
	}
	var rest strings.Builder
	inside := false
	for line := range strings.Lines(content) {
		switch text := strings.TrimRight(line, "\r\n"); {
		case isResolvStart(text):
			inside = true
		case inside && (text == resolvOptions || strings.HasPrefix(text, "nameserver ")):
		case inside && text == resolvEnd:
			inside = false
		default:
			inside = false
			rest.WriteString(line)
		}
	}
	return rest.String()
}

func isResolvStart(line string) bool {
	rest, ok := strings.CutPrefix(line, resolvStartMark)
	return ok && (rest == "" || rest[0] == ':' || rest[0] == ' ')
}

// hasServers tells that the file has a section of ours.
func hasServers(content string) bool { return removeServers(content) != content }

// nameservers reads a resolv.conf as libc does, but also skips inline comments,
// which some programs write. Unreadable lines are ignored.
func nameservers(resolvConf string) []netip.Addr {
	var list []netip.Addr
	for line := range strings.Lines(resolvConf) {
		line, _, _ = strings.Cut(line, "#")
		line, _, _ = strings.Cut(line, ";")
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// upstreams lists the servers of a resolv.conf that are not ours: neither in a
// section of ours, nor by an address that is ours, however it came there.
// Whoever forwards to itself goes round in circles.
func upstreams(resolvConf string, own func(netip.Addr) bool) []netip.Addr {
	var list []netip.Addr
	for _, a := range nameservers(removeServers(resolvConf)) {
		if own == nil || !own(a) {
			list = append(list, a)
		}
	}
	return list
}

// author names the program that wrote a resolv.conf, as its first comment does.
func author(content string) string {
	for line := range strings.Lines(removeServers(content)) {
		text := strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), "#;"))
		if strings.HasPrefix(line, "#") && len(text) > 3 && len(text) < 200 {
			return "a program that writes \"" + strings.ToValidUTF8(text, "?") + "\""
		}
	}
	return "a program that does not name itself"
}
