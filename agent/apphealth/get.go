package apphealth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// maxHeader bounds what an app can make the agent read, in bytes: the body is
// not read at all.
const maxHeader = 64 << 10

// client asks for what the URL names and nothing else: a redirect is an answer,
// and where it leads may be another program's. No proxy is asked, since apps are
// the workspace's own, and no connection is kept.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get is nil if the app answers with less than 500, whatever it says.
func get(ctx context.Context, target string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return errors.New("make request: the URL of the health check cannot be parsed")
	}
	response, err := client.Do(request)
	if err != nil {
		// The URL, which the error repeats, may hold a password.
		if failed := new(url.Error); errors.As(err, &failed) {
			err = failed.Err
		}
		return fmt.Errorf("get %s: %w", request.URL.Redacted(), err)
	}
	response.Body.Close()
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("get %s: HTTP %d", request.URL.Redacted(), response.StatusCode)
	}
	return nil
}
