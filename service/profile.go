package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/localapi"
)

// Profile is one deployment and the credentials for it. It is not changed once
// it is in a state: another takes its place.
type Profile struct {
	ID     string // made up, stays with the profile when it is renamed
	Name   string // one of its kind among those of its owner
	Owner  localapi.User
	URL    *url.URL
	Token  client.Token // "" when signed out
	User   string       // user name at the deployment
	UserID string       // user id at the deployment
	// Headers go with every request to the deployment.
	Headers Headers
	// CA are certificate authorities (PEM) to trust besides the system's.
	CA string
	// Proxy leads to the control plane and relays; nil: the machine's.
	Proxy *url.URL
	// AtLogin has the tunnel connected only while the owner has a session here.
	AtLogin bool
	// Expires is when the token ends; zero: never, or not known.
	Expires time.Time

	// more gives the headers of the machine's header command; nil for none.
	more func(context.Context) (http.Header, error)
}

// Headers are sent to the deployment; their values are secrets and never show.
type Headers http.Header

const hidden = "[redacted]"

// LogValue shows the names only.
func (h Headers) LogValue() slog.Value { return slog.StringValue(h.String()) }

// String shows the names only.
func (h Headers) String() string {
	var text []string
	for _, name := range h.Names() {
		text = append(text, name+"="+hidden)
	}
	return strings.Join(text, " ")
}

// GoString shows the names only.
func (h Headers) GoString() string { return h.String() }

// Names of the headers, in order.
func (h Headers) Names() []string { return slices.Sorted(maps.Keys(h)) }

func (h Headers) equal(other Headers) bool { return maps.EqualFunc(h, other, slices.Equal) }

// signedIn says whether there are credentials.
func (p Profile) signedIn() bool { return p.Token != "" }

// proxyText is the proxy as it is kept, with credentials; "" for none.
func (p Profile) proxyText() string {
	if p.Proxy == nil {
		return ""
	}
	return p.Proxy.String()
}

// sameTunnel says whether a tunnel of one profile can go on as the other's:
// they differ in nothing but the token and what things are called.
func (p Profile) sameTunnel(other Profile) bool {
	return p.ID == other.ID && p.Owner == other.Owner && p.URL.String() == other.URL.String() && p.UserID == other.UserID &&
		p.Headers.equal(other.Headers) && p.CA == other.CA && p.proxyText() == other.proxyText()
}

// The limits of what one state holds: enough for anybody who signs in by hand.
const (
	profilesPerOwner = 16
	maxProfiles      = 64
	maxOperators     = 256
	maxName          = 64
)

// checkName takes a profile's name: letters, digits, dot, dash and underscore.
// It stands on command lines and in file names, so it is plain.
func checkName(name string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_'
	}
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a profile's name has 1 to %d characters", maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) || strings.Trim(name, ".-") != name:
		return errors.New("a profile's name has only letters, digits, dots, dashes and underscores, and neither begins nor ends with a dot or a dash")
	}
	return nil
}

// nameFor makes a name of a deployment's host that none of the owner's has.
func nameFor(access *url.URL, taken func(string) bool) string {
	base := strings.Trim(strings.Map(func(r rune) rune {
		if checkName("a"+string(r)+"a") != nil {
			return '-'
		}
		return r
	}, access.Hostname()), ".-")
	if base = base[:min(len(base), maxName-4)]; base == "" {
		base = "deployment"
	}
	base = strings.Trim(base, ".-")
	name := base
	for i := 2; taken(name); i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}
