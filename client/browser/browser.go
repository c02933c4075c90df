// Package browser opens a page in the browser of the user at this machine. No
// shell ever sees the address.
package browser

import (
	"errors"
	"net/url"
)

// ErrNone means that there is no browser to open a page with.
var ErrNone = errors.New("no browser is known here: $CAUSEWAY_BROWSER may name a program that opens one")

// Opener opens pages. CAUSEWAY_BROWSER names the program to use, which is run
// with the address as its only argument; next comes BROWSER as others read it,
// and then what the system has.
type Opener struct {
	LookupEnv func(string) (string, bool)
}

// Open shows the page and returns when the browser has taken it, or seems to.
func (o Opener) Open(page string) error {
	parsed, err := url.Parse(page)
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "" {
		return errors.New("open the browser: what it should open is no page")
	}
	return o.open(parsed.String())
}

func (o Opener) getenv(name string) string {
	value, _ := o.LookupEnv(name)
	return value
}
