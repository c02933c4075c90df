package redact

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Mark stands where something was.
const Mark = "[redacted]"

// shortest is how long a known secret must be to be looked for everywhere: a
// shorter one would be found inside of common words, and hides nothing.
const shortest = 4

// Redactor takes secrets out of texts. It is made once and then only used; safe
// for concurrent use.
type Redactor struct {
	known   *strings.Replacer
	aliases *aliases // nil: not strict
}

// New is a redactor that knows these secrets beside what looks like one.
func New(secrets ...string) *Redactor {
	var forms []string
	for _, secret := range secrets {
		forms = append(forms, encodings(secret)...)
	}
	// The longest first: one may be part of another.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, form := range slices.Compact(forms) {
		pairs = append(pairs, form, Mark)
	}
	return &Redactor{known: strings.NewReplacer(pairs...)}
}

// Strict makes names and addresses aliases too: the names given, all that is
// below these suffixes, the hosts of URLs, and every address. Redactors with the
// same salt give the same alias.
func (r *Redactor) Strict(salt []byte, names, suffixes []string) *Redactor {
	return &Redactor{known: r.known, aliases: newAliases(salt, names, suffixes)}
}

// Bytes is the text without secrets.
func (r *Redactor) Bytes(text []byte) []byte { return []byte(r.Text(string(text))) }

// Text is the text without secrets.
func (r *Redactor) Text(text string) string {
	text = r.known.Replace(text)
	for _, rule := range rules {
		text = rule.apply(text)
	}
	if r.aliases != nil {
		text = r.aliases.replace(text)
	}
	return text
}

// encodings are the forms in which a secret may stand in a text: as it is,
// escaped in JSON or a URL, in hexadecimal and in base64. In base64 a text that
// begins within a group of three bytes looks different, so all three ways count,
// without the letters that depend on the neighbours.
func encodings(secret string) []string {
	secret = strings.TrimSpace(secret)
	if len(secret) < shortest {
		return nil
	}
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), url.UserPassword("", secret).String()[1:]}
	if quoted, err := json.Marshal(secret); err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	digits := hex.EncodeToString([]byte(secret))
	forms = append(forms, digits, strings.ToUpper(digits), base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)))
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		from, to := (shift*8+5)/6, len(padded)*8/6
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if form := encoding.EncodeToString(padded)[from:to]; len(form) >= shortest {
				forms = append(forms, form)
			}
		}
	}
	return forms
}
