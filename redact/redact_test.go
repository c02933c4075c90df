package redact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRules: one kind of secret after the other, in the texts in which it comes;
// each rule has one that no other finds.
func TestRules(t *testing.T) {
	tests := map[string][]string{
		"PEM block of a private key": {"a\n-----BEGIN EC PRIVATE KEY-----\nSECRETLINE\n-----END EC PRIVATE KEY-----\nb", "-----BEGIN PRIVATE KEY-----\nSECRETLINE cut off"},
		"header": {
			"Authorization: Basic SECRET", "GET / HTTP/1.1\nCookie: a=SECRET; b=SECRET two\nHost: h", `header="Coder-Session-Token: SECRET" n=1`,
			`{\"Set-Cookie\":\"a=SECRET\"}`, "X-Api-Key: SECRET", `map[Cookie:[SECRET b]]`, "CF-Access-Client-Id: SECRET",
		},
		"scheme of a header":      {"the proxy was given Bearer SECRETSECRET and refused"},
		"user in a URL":           {"dial https://SECRET@h.example/: refused", "proxy=http://me:SECRET@proxy:3128", `"https:\/\/u:SECRET@h"`},
		"parameter of a URL":      {"GET https://h/callback?code=SECRET&x=1", "https://h/?a=1&state=SECRET"},
		"named value":             {"token=SECRET", `level=INFO msg=x one_time_code="SECRET two" n=1`, "password: SECRET", `{\"client_secret\":\"SECRET\"}`, "my-api-key: 'SECRET'", "sessionToken=SECRET"},
		"flag":                    {"causeway-agent --token SECRET run", "x --proxy-password 'SECRET two'"},
		"token of the deployment": {"refused: aB3dE6gH9j-aB3dE6gH9jaB3dE6gH9jKL for alice"},
		"JSON web token":          {"got eyJhbGciOiJub25l.eyJzdWIiOiJub25lIn0.c2lnbmF0dXJl back"},
		"key by its type":         {"node nlpriv:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff end"},
		"code of a sign-in":       {"alice typed BCDF-GHJK and was let in"},
		"WireGuard key":           {"key AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE= end"},
	}
	if len(tests) != len(rules) {
		t.Errorf("%d kinds of secrets and %d rules", len(tests), len(rules))
	}
	secret := regexp.MustCompile(`SECRET|aB3dE6gH9j|eyJ|00112233|BCDF|AbCdEf`)
	for _, rule := range rules {
		texts := tests[rule.what]
		if len(texts) == 0 {
			t.Errorf("%s: no text", rule.what)
		}
		for _, text := range texts {
			if got := New().Text(text); secret.MatchString(got) || !strings.Contains(got, Mark) {
				t.Errorf("%s: %q became %q", rule.what, text, got)
			}
		}
		alone := false // what the others leave
		for _, text := range texts {
			for _, other := range rules {
				if other.what != rule.what {
					text = other.apply(text)
				}
			}
			alone = alone || secret.MatchString(text)
		}
		if !alone {
			t.Errorf("%s: other rules find all of its texts", rule.what)
		}
	}
}

// TestKept: what is needed to understand a fault stays.
func TestKept(t *testing.T) {
	for _, text := range []string{
		"level=INFO msg=\"daemon started\" socket=/run/causeway/causeway.sock version=v1.2.3",
		"dial https://coder.example.com/api/v2/users/me: HTTP 401: Unauthorized", "exit code: 3", "code=401 path=/x",
		"goroutine 1 [running]:\nmain.main()\n\t/src/cmd/causewayd/main.go:42 +0x1d", "token_expires_at=2026-11-22T16:00:00Z",
		"0b8f2c1e-1111-4222-8333-444455556666", "nodekey:abcd", "10.0.0.1:53 fe80::1%eth0",
	} {
		if got := New("planted-secret").Text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// TestKnown: a known secret goes in each of its forms, wherever it begins.
func TestKnown(t *testing.T) {
	const secret = `s3cr&t/"wörd" plus+`
	r := New(secret, "s3cr", "ab")
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), string(quoted), hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for before := range 4 {
		data := []byte(strings.Repeat("x", before) + secret + "yz")
		forms = append(forms, base64.StdEncoding.EncodeToString(data), base64.RawURLEncoding.EncodeToString(data))
	}
	for _, form := range forms {
		got := r.Text("before " + form + " after")
		if !strings.Contains(got, Mark) || strings.Contains(got, "s3cr") || len(got) > len("before [redacted] after")+10 {
			t.Errorf("%q became %q", form, got)
		}
	}
	if got := r.Text("absolute"); got != "absolute" {
		t.Errorf("a secret of two letters is looked for: %q", got)
	}
}

func TestFileStaysJSON(t *testing.T) {
	r := New("planted")
	got := string(r.File("a.json", []byte(`{"token":"abc","user":"alice","n":12345678901234567890,"list":[{"name":"my-password","value":"abc"},{"name":"x","value":"planted"}],"token_ok":true,"msg":"cookie: abc"}`)))
	var value map[string]any
	if err := json.Unmarshal([]byte(got), &value); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if strings.Contains(got, "abc") || strings.Contains(got, "planted") || !strings.Contains(got, `"alice"`) || !strings.Contains(got, "12345678901234567890") || value["token_ok"] != true {
		t.Errorf("got %s", got)
	}
	lines := string(r.File("a.ndjson", []byte("{\"a\":\"planted\"}\n\n{\"token\":\"x\"}\n")))
	if lines != "{\"a\":\"[redacted]\"}\n{\"token\":\"[redacted]\"}\n" {
		t.Errorf("lines: %q", lines)
	}
	if got := string(r.File("a.json", []byte("{ token=abc planted"))); strings.Contains(got, "abc") || strings.Contains(got, "planted") {
		t.Errorf("what is no JSON: %q", got)
	}
}

func TestVariable(t *testing.T) {
	for _, test := range [][3]string{
		{"HTTPS_PROXY", "http://u:p4ss@proxy:3128", "http://[redacted]@proxy:3128"}, {"http_proxy", "u:p4ss@proxy:3128", "[redacted]@proxy:3128"},
		{"CAUSEWAY_TOKEN", "x", Mark}, {"NO_PROXY", "localhost,10.0.0.0/8", "localhost,10.0.0.0/8"},
	} {
		if got := New().Variable(test[0], test[1]); got != test[2] {
			t.Errorf("%s=%s became %q, want %q", test[0], test[1], got, test[2])
		}
	}
}

// TestStrict: the same thing has the same alias everywhere, and nothing else has.
func TestStrict(t *testing.T) {
	strict := func(salt string) *Redactor {
		return New("planted").Strict([]byte(salt), []string{"alice", "web", "laptop-7", "Al", "main", `CORP\bob`}, []string{"coder"})
	}
	r := strict("salt")
	text := "alice on laptop-7 (x-laptop-7-y, corp/bob, a_web, -) reaches main.web.me.coder at fd60:627a:a42b::7 (10.1.2.3:41641) and web. Alice's 10.1.2.3 via 02:42:ac:11:00:02, " +
		"[fd60:627a:a42b::7]:22, https://dev.example.com:8443/x, alice@example.com, planted; alicette stays at 16:01:02 on 127.0.0.1, ::1, 0.0.0.0, main, not unknown.thing.Coder."
	got := r.Text(text)
	for _, leaked := range []string{"alice ", "Alice", "laptop", " web", ".web", "corp", "bob", "unknown.", "thing", "fd60", "10.1.2.3", "02:42", "dev.example", "example.com", "planted"} {
		if strings.Contains(got, leaked) {
			t.Errorf("%q is left in %q", leaked, got)
		}
	}
	for _, kept := range []string{"alicette", "(x-name-", "-y,", "a_web,", "16:01:02", "127.0.0.1", "::1", "0.0.0.0", ", main", ":8443/x", ":41641", ":22,"} {
		if !strings.Contains(got, kept) {
			t.Errorf("%q is gone from %q", kept, got)
		}
	}
	if first := regexp.MustCompile(`ip6-[0-9a-f]{10}`).FindAllString(got, -1); len(first) != 2 || first[0] != first[1] {
		t.Errorf("aliases of one address: %v", first)
	}
	if strict("salt").Text(text) != got || strict("other").Text(text) == got {
		t.Error("aliases do not go by the salt alone")
	}
	if a, b := r.Text("10.1.2.3"), r.Text("10.1.2.4"); a == b {
		t.Errorf("two addresses are both %s", a)
	}
	if got := r.Text("fd60627aa42b00000000000000000007"); got != r.Text("fd60:627a:a42b::7") {
		t.Errorf("as the kernel writes it: %s", got)
	}
}

func FuzzText(f *testing.F) {
	f.Add("token=x https://a:b@c/?code=1 fe80::1 -----BEGIN PRIVATE KEY-----", "secret")
	f.Fuzz(func(t *testing.T, text, secret string) {
		r := New(secret).Strict([]byte("s"), []string{secret}, []string{secret})
		secret = strings.TrimSpace(secret)
		// What is part of our own marks would be found in them.
		if len(secret) >= shortest && !strings.Contains(Mark, secret) && strings.Contains(r.known.Replace(text+" "+secret), secret) && !strings.Contains(text, secret) {
			t.Errorf("%q is left", secret)
		}
		r.Text(text)
		r.File("x.json", []byte(text))
	})
}

// BenchmarkStrict is a megabyte, with as many names as a large deployment has.
func BenchmarkStrict(b *testing.B) {
	var names []string
	for i := range 10_000 {
		names = append(names, fmt.Sprintf("workspace-%d", i))
	}
	r := New("planted-secret").Strict([]byte("s"), names, []string{"coder"})
	text := strings.Repeat("level=INFO msg=\"peer answered\" agent=main.workspace-77.me.coder addr=fd60::7 path=10.1.2.3:41641\n", 10_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.Text(text)
	}
}
