package control

import (
	"fmt"
	"net/http"
)

// sameHost is the client with a rule of ours: the token header never follows a
// redirect to another host, nor from https to http.
func sameHost(base *http.Client) *http.Client {
	client := http.Client{}
	if base != nil {
		client = *base
	}
	client.CheckRedirect = func(request *http.Request, via []*http.Request) error {
		first := via[0].URL
		if len(via) >= 5 || request.URL.Host != first.Host || first.Scheme == "https" && request.URL.Scheme != "https" {
			return fmt.Errorf("follow redirect to %s://%s: refused, use that URL itself", request.URL.Scheme, request.URL.Host)
		}
		return nil
	}
	return &client
}
