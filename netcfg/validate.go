package netcfg

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/causewayhq/causeway/proto/suffix"
)

// ErrInvalid marks every error of Validate.
var ErrInvalid = errors.New("invalid host configuration")

// minMTU is what IPv6 demands of a link, in bytes; a system takes IPv6 off an
// interface that has less.
const minMTU = 1280

// reverseTree holds the names of IPv6 addresses. A host may be told that those
// of our own prefixes are ours; a control plane may not claim any.
const reverseTree = ".ip6.arpa"

// Validate refuses what no host could be brought to, and what would do harm:
// a default route, a global resolver, a suffix that is the public's, names that
// mean nothing. It reports all that is wrong, each with the offending value. The
// hosts are checked when they are listed.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	if c.Interface == "" && (len(c.Addresses) > 0 || len(c.Routes) > 0 || len(c.DNS.Nameservers) > 0) {
		bad("addresses, routes and name servers need an interface")
	}
	if c.MTU != 0 && c.MTU < minMTU {
		bad("MTU %d is below %d, which IPv6 needs", c.MTU, minMTU)
	}
	for _, p := range c.Addresses {
		switch a := p.Addr(); {
		case !p.IsValid():
			bad("address %q", p.String())
		case a.Is4In6() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast():
			bad("address %s cannot be given to an interface", p)
		}
	}
	for _, p := range c.Routes {
		switch {
		case !p.IsValid() || p.Addr().Is4In6():
			bad("route %q", p.String())
		case p.Bits() == 0:
			bad("route %s would take all traffic of the host", p)
		case p.Masked() != p:
			bad("route %s has host bits, %s is meant", p, p.Masked())
		}
	}
	if err := c.DNS.validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (d DNS) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	if len(d.Nameservers) > 0 && len(d.Suffixes) == 0 {
		bad("name servers without a suffix would be a global resolver")
	}
	for _, a := range d.Nameservers {
		if !usable(a) {
			bad("name server %q", a.String())
		}
	}
	for _, s := range d.Suffixes {
		if err := checkName(s); err != nil {
			bad("suffix %q %s", s, err.Error())
		} else if err := suffix.Check(s); err != nil && !strings.HasSuffix(s, reverseTree) {
			bad("suffix %q %w", s, err)
		}
	}
	return errors.Join(errs...)
}

func (h Host) validate() error {
	if err := checkName(h.Name); err != nil {
		return fmt.Errorf("%w: host %q %w", ErrInvalid, h.Name, err)
	}
	if !usable(h.Addr) {
		return fmt.Errorf("%w: host %s has the address %q", ErrInvalid, h.Name, h.Addr.String())
	}
	return nil
}

// usable refuses zones too: they mean nothing outside one interface.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a.Zone() == ""
}

// checkName allows underscores, which agents' names may have.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case len(name) > 253:
		return fmt.Errorf("has %d bytes, 253 are allowed", len(name))
	case strings.HasPrefix(name, "."), strings.HasSuffix(name, "."):
		return errors.New("begins or ends with a dot")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("has a label of %d bytes, 1 to 63 are allowed", len(label))
		}
		for _, b := range []byte(label) {
			if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' && b != '_' {
				return fmt.Errorf("has the character %q; lower case letters, digits, '-' and '_' are allowed", b)
			}
		}
	}
	return nil
}
