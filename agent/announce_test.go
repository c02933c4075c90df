package agent

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestSuffix: the deployment's, as it can end a name; whatever else the control
// plane answers, there is none.
func TestSuffix(t *testing.T) {
	for name, test := range map[string]struct {
		status     int
		body, want string
	}{
		"ours": {200, `{"derp_map": {}, "hostname_suffix": "Dev.Example"}`, "dev.example"}, "with a dot": {200, `{"hostname_suffix": ".corp"}`, "corp"},
		"none": {200, `{}`, ""}, "refused": {401, `{"hostname_suffix": "corp"}`, ""}, "no JSON": {200, `<html>`, ""}, "elsewhere": {302, ``, ""},
		"not a name": {200, `{"hostname_suffix": "a\u001b[31m"}`, ""}, "long": {200, `{"hostname_suffix": "` + strings.Repeat("a", 254) + `"}`, ""},
		"endless": {200, `{"x": "` + strings.Repeat("a", suffixMost) + `", "hostname_suffix": "corp"}`, ""},
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/base"+suffixPath || r.Header.Get("Coder-Session-Token") != "s3cret" || r.Header.Get("X-Extra") != "yes" {
				t.Errorf("%s: asked for %s with %v", name, r.URL, r.Header)
			}
			w.Header().Set("Location", "/other")
			w.WriteHeader(test.status)
			w.Write([]byte(test.body)) //nolint:errcheck // the agent sees it
		}))
		access, err := url.Parse(web.URL + "/base")
		if err != nil {
			t.Fatal(err)
		}
		a := &agent{tokens: tokens{last: "s3cret"}, config: Config{URL: access, Header: http.Header{"X-Extra": {"yes"}}}}
		if got, err := a.suffix(t.Context()); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		web.Close()
	}
}

// TestAnnouncedNames: with the deployment's suffix, or with coder where it names
// none; once, whatever happens to the connection.
func TestAnnouncedNames(t *testing.T) {
	for suffix, want := range map[string][]string{"": {"main.myws.me.coder", "main.myws.alice.coder"}, "corp": {"main.myws.me.corp", "main.myws.alice.corp"}} {
		p := newPlane(t)
		p.mu.Lock()
		p.suffix = suffix
		p.mu.Unlock()
		r := p.startAgent("")
		if got := r.wait(); !slices.Equal(got, want) {
			t.Errorf("%q: %q", suffix, got)
		}
		dials := p.dials.Load()
		p.down()
		p.up()
		eventually(t, "the next connection", func() bool { return p.dials.Load() > dials && len(p.life()) > 0 })
		if err := r.stop(); err != nil || len(r.connected) != 0 {
			t.Errorf("%v; told %d times more", err, len(r.connected))
		}
	}
}
