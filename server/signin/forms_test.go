package signin

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestForms: what an endpoint takes as a form, and that secrets in addresses and
// cookies are not taken.
func TestForms(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b, program := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.1")
	query := "grant_type=" + url.QueryEscape(grantDevice) + "&client_id=causeway&device_code=x"
	tests := []struct{ name, target, kind, body, want string }{
		{"in the address", "/oauth2/token?" + query, formKind, "", "invalid_client"},
		{"JSON", "/oauth2/token", "application/json", `{"client_id":"causeway"}`, "invalid_request"},
		{"no type", "/oauth2/token", "", query, "invalid_request"},
		{"a field twice", "/oauth2/token", formKind, query + "&client_id=causeway", "invalid_request"},
		{"a long field", "/oauth2/token", formKind, query + "&x=" + strings.Repeat("x", fieldLimit+1), "invalid_request"},
		{"a long body", "/oauth2/token", formKind, strings.Repeat(query+"&", 500), "invalid_request"},
		{"bad escapes", "/oauth2/token", formKind, query + "&x=%zz", "invalid_request"},
		{"semicolons", "/oauth2/token", formKind, query + ";x=1", "invalid_request"},
		{"not UTF-8", "/oauth2/token", formKind, query + "&x=%ff", "invalid_request"},
		{"with a charset", "/oauth2/token", formKind + "; charset=utf-8", query, "invalid_grant"},
		{"device without client", "/oauth2/device", formKind, "device_name=x", "invalid_client"},
	}
	for _, test := range tests {
		for _, who := range []*browser{program, b} {
			got := who.do("POST", test.target, test.kind, test.body)
			if got.status != http.StatusBadRequest || got.oauth(t) != test.want || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %s", test.name, got.status, got.body)
			}
		}
	}
	for _, path := range []string{"/oauth2/token", "/oauth2/device", "/oauth2/revoke"} {
		if got := program.get(path); got.status != http.StatusMethodNotAllowed && got.status != http.StatusTeapot {
			t.Errorf("GET %s: %d", path, got.status)
		}
	}
}

func TestNames(t *testing.T) {
	for given, want := range map[string]string{
		"laptop": "laptop", "  my \n laptop\t": "my laptop", "": "", "a\x00b\x1bc\u202ed\u200be": "abcde", "<b>x</b>": "<b>x</b>", "Büro 7": "Büro 7",
		strings.Repeat("x", 1000): strings.Repeat("x", nameLimit), strings.Repeat("日", 1000): strings.Repeat("日", 42),
	} {
		if got := cleanName(given); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
	r := newRig(t, plainURL)
	r.user("alice")
	b := r.signIn("alice", "192.0.2.1")
	codes := r.browser("192.0.2.9").startDevice("<script>alert(1)</script>\u202e")
	got := b.get("/device?user_code=" + codes.UserCode)
	if strings.Contains(got.body, "<script>") || !strings.Contains(got.body, "&lt;script&gt;") || strings.Contains(got.body, "\u202e") {
		t.Errorf("%s", got.body)
	}
}

// FuzzForms: whatever comes as a form or a query, it is read or refused, and a
// way on after a sign-in stays here.
func FuzzForms(f *testing.F) {
	for _, seed := range []string{
		request().Encode(), "/device?user_code=WDJB-MJHT", "//evil.example.com", "/\\evil.example.com", "/@alice/myws.main/terminal?reconnect=1", "/@a//evil.example.com", "/device/../../evil", "https://evil.example.com/device",
		"/oauth2/authorize?redirect_uri=http%3A%2F%2Fevil", "a=1&a=2", "%zz", "/device?%0d%0aSet-Cookie:x=1", "/login?next=//evil", "/device?\x00", "\xff",
		"/device?" + strings.Repeat("\xb2", fieldLimit/2),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if fields, err := parseFields(text); err == nil {
			for name, values := range fields {
				if len(values) != 1 || len(values[0]) > fieldLimit {
					t.Errorf("%q: %q", name, values)
				}
			}
			if request, _, found := readAuthorization(fields); found && !loopbackRedirect(request.redirect) {
				t.Errorf("%q goes to %q", text, request.redirect)
			}
		}
		next := safeNext(text)
		target, err := url.Parse(next)
		if err != nil || len(next) > fieldLimit || target.Host != "" || target.Scheme != "" || !slices.Contains([]string{"/", "/device", "/cli-auth", "/oauth2/authorize"}, target.Path) && !workspacePage.MatchString(target.Path) || strings.ContainsAny(next, "\r\n\\ ") {
			t.Errorf("%q leads to %q (%v)", text, next, err)
		}
		if again := safeNext(next); again != next {
			t.Errorf("%q, then %q", next, again)
		}
	})
}
