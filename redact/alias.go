package redact

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// aliases replace names and addresses. An alias is made of the thing and a salt
// that nobody keeps, so that it cannot be turned back by trying.
type aliases struct {
	salt     []byte
	names    map[string]bool // in small letters
	suffixes []string        // with a dot before
}

// aliasBytes are enough for no two of some thousand things to get one alias.
const aliasBytes = 5

func newAliases(salt []byte, names, suffixes []string) *aliases {
	out := &aliases{salt: salt, names: map[string]bool{}}
	for _, suffix := range suffixes {
		if suffix = strings.ToLower(strings.Trim(suffix, ".")); suffix != "" {
			out.suffixes = append(out.suffixes, "."+suffix)
		}
	}
	for _, name := range names {
		// DOMAIN\user and its like are several words.
		for _, one := range word.FindAllString(strings.ToLower(name), -1) {
			if one = strings.TrimRight(one, ".-"); len(one) > 1 && !common[one] {
				out.names[one] = true
			}
		}
	}
	return out
}

// word is what a name can be; dots and hyphens divide it into parts.
var word = regexp.MustCompile(`[\p{L}\p{N}_][\p{L}\p{N}_.-]*`)

// inWord replaces a word that is a name, is below a suffix, or has a name for
// some of its parts; of those the longest counts.
func (a *aliases) inWord(found string) string {
	whole := strings.TrimRight(found, ".-")
	for _, suffix := range a.suffixes {
		if strings.HasSuffix(strings.ToLower(whole), suffix) {
			return a.of("name", whole) + found[len(whole):]
		}
	}
	var out strings.Builder
	for rest := found; rest != ""; {
		if length := a.longest(rest); length > 0 {
			out.WriteString(a.of("name", rest[:length]))
			rest = rest[length:]
			continue
		}
		// On to the next part, with what divides them.
		next := strings.IndexAny(rest, ".-") + 1
		if next == 0 {
			next = len(rest)
		}
		out.WriteString(rest[:next])
		rest = rest[next:]
	}
	return out.String()
}

// longest is how long the longest name is that the text begins with and that
// ends with a part; 0 for none.
func (a *aliases) longest(text string) int {
	for end := len(text); end > 0; end = strings.LastIndexAny(text[:end], ".-") {
		if a.names[strings.ToLower(text[:end])] {
			return end
		}
	}
	return 0
}

// common are names that say nothing of anybody and stand everywhere.
var common = map[string]bool{
	"root": true, "main": true, "localhost": true, "default": true, "me": true, "lo": true, "user": true, "system": true, "causeway": true, "coder": true,
}

var (
	urlHost  = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){2}(?:[^\s/?#"'<>\\@]*@)?)([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)`)
	mail     = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`)
	hardware = regexp.MustCompile(`(?i)\b(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b`)
	ip4      = regexp.MustCompile(`\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b`)
	// Colons and hexadecimal digits; whether it is an address is parsed.
	ip6 = regexp.MustCompile(`[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*`)
	// As the kernel writes them in /proc/net.
	ip6Kernel = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
)

func (a *aliases) replace(text string) string {
	text = mail.ReplaceAllStringFunc(text, func(found string) string { return a.of("mail", found) })
	text = urlHost.ReplaceAllStringFunc(text, func(found string) string {
		parts := urlHost.FindStringSubmatch(found)
		if _, err := netip.ParseAddr(parts[2]); err == nil || common[strings.ToLower(parts[2])] {
			return found
		}
		return parts[1] + a.of("host", parts[2])
	})
	text = word.ReplaceAllStringFunc(text, a.inWord)
	text = hardware.ReplaceAllStringFunc(text, func(found string) string {
		if parsed, err := net.ParseMAC(found); err != nil || slices.Max(parsed) == 0 {
			return found
		}
		return a.of("mac", found)
	})
	text = ip6.ReplaceAllStringFunc(text, a.address)
	text = ip6Kernel.ReplaceAllStringFunc(text, a.kernelAddress)
	return ip4.ReplaceAllStringFunc(text, a.address)
}

// address is the alias of an address that belongs to somebody.
func (a *aliases) address(found string) string {
	text := strings.TrimRight(found, ":.")
	addr, err := netip.ParseAddr(text)
	if err != nil && strings.HasPrefix(text, ":") && !strings.HasPrefix(text, "::") {
		return found[:1] + a.address(found[1:]) // the colon belongs to what is before
	}
	if err != nil || addr.IsUnspecified() || addr.IsLoopback() {
		return found
	}
	kind := "ip4"
	if addr.Is6() && !addr.Is4In6() {
		kind = "ip6"
	}
	return a.of(kind, addr.Unmap().String()) + found[len(text):]
}

func (a *aliases) kernelAddress(found string) string {
	raw, err := hex.DecodeString(found)
	if err != nil {
		return found
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok || addr.IsUnspecified() || addr.IsLoopback() {
		return found
	}
	return a.of("ip6", addr.String())
}

// of is the alias; capitals make no difference.
func (a *aliases) of(kind, thing string) string {
	sum := hmac.New(sha256.New, a.salt)
	// A hash takes every write.
	_, _ = sum.Write([]byte(strings.ToLower(strings.Trim(thing, "."))))
	return kind + "-" + hex.EncodeToString(sum.Sum(nil)[:aliasBytes])
}
