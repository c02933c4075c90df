// Package suffix judges which DNS suffix a control plane may claim on a host.
// Inside a suffix every name but the tunnel's own ceases to exist there, so a
// suffix must not take names from anybody else.
package suffix

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// ErrRefused marks every error of Check.
var ErrRefused = errors.New("may not be claimed by a control plane")

// trees are special-use names that have a meaning of their own at any depth:
// this host, the names of addresses, and the services of Tor (RFC 6761, 3172
// and 7686).
var trees = []string{"localhost", "arpa", "onion"}

// shared are private names which many parties of one network live in side by
// side: multicast DNS (RFC 6762), and "internal", where the clouds keep the
// metadata servers that hand out credentials. A name inside one of them has
// one owner, and passes.
var shared = []string{"local", "internal"}

// Check refuses what belongs to the public or to a protocol: a top-level domain
// and any other suffix under which ICANN's registries sell names ("com",
// "co.uk"), and names of special use. A single label that is none of these,
// such as "coder" or "corp", and a domain below a public suffix pass. The name
// is in lower case, without dots at its ends; its form is not judged.
func Check(name string) error {
	for _, tree := range trees {
		if name == tree || strings.HasSuffix(name, "."+tree) {
			return fmt.Errorf("%w: names in %s have a special use", ErrRefused, tree)
		}
	}
	if slices.Contains(shared, name) {
		return fmt.Errorf("%w: it is shared by everybody on a network", ErrRefused)
	}
	// The list has rules such as "*.ck" that do not name their parent.
	if public(name) || public("causeway."+name) {
		return fmt.Errorf("%w: it is a public suffix", ErrRefused)
	}
	return nil
}

func public(name string) bool {
	suffix, icann := publicsuffix.PublicSuffix(name)
	return icann && suffix == name
}
