package redact

import (
	"regexp"
	"strings"
)

// rule finds one kind of secret by how it looks or by what stands before it.
type rule struct {
	what    string // kind of secret, for the tests and the docs
	pattern *regexp.Regexp
	// with replaces a match; $1 and so on are its groups.
	with string
}

func (r rule) apply(text string) string { return r.pattern.ReplaceAllString(text, r.with) }

// Words that name a secret. They stand as a key, or as the end of one.
const secretWords = `(?:token|secret|passw(?:or)?d|passphrase|passwd|api[-_]?key|private[-_]?key|session[-_]?key|privkey|otp|` +
	`one[-_ ]?time[-_ ]?code|user[-_]?code|device[-_]?code|login[-_]?code|auth(?:orization)?[-_]?code|code[-_]?verifier|credentials?|client[-_]?secret|cookies?|authorization)`

// rules in the order in which they are applied.
var rules = []rule{
	{"PEM block of a private key", regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`), Mark},
	// The whole rest of the line: a cookie has blanks.
	{"header", regexp.MustCompile(`(?i)((?:^|[\s"'\[{(,])(?:proxy-)?(?:authorization|cookie|set-cookie|[a-z-]*session-token|x-[a-z-]*(?:token|key|secret|assertion)|cf-access-[a-z-]+)\\?["']?\s*:\s*)(\\"[^"\\]*\\"|"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[^\r\n"]+)`), "${1}" + Mark},
	{"scheme of a header", regexp.MustCompile(`(?i)\b(bearer|basic|negotiate|digest)\s+[A-Za-z0-9._~+/=-]{6,}`), "${1} " + Mark},
	{"user in a URL", regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){2})[^\s/?#"'<>\\]*@`), "${1}" + Mark + "@"},
	{"parameter of a URL", regexp.MustCompile(`(?i)([?&#;](?:[a-z0-9_-]*` + secretWords + `|code|state|key|sig|signature|assertion)=)[^&\s"'<>#]+`), "${1}" + Mark},
	{"named value", regexp.MustCompile(`(?i)((?:^|[^A-Za-z0-9])[a-z0-9_.-]*` + secretWords + `\\?["']?\s*(?::=|=|:)\s*)(\\"[^"\\]*\\"|"(?:[^"\\]|\\.)*"|'[^']*'|\[redacted\]|[^\s"',;{}\[\]]+)`), "${1}" + Mark},
	{"flag", regexp.MustCompile(`(?i)(--[a-z0-9-]*` + secretWords + `\s+)("[^"]*"|'[^']*'|[^\s"'-][^\s"']*)`), "${1}" + Mark},
	{"token of the deployment", regexp.MustCompile(`\b[A-Za-z0-9]{10}-[A-Za-z0-9]{22}\b`), Mark},
	{"JSON web token", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), Mark},
	{"key by its type", regexp.MustCompile(`\b(privkey|nlpriv|discopriv):[0-9a-fA-F]{16,}`), "${1}:" + Mark},
	{"code of a sign-in", regexp.MustCompile(`(^|[^A-Za-z0-9-])[BCDFGHJKLMNPQRSTVWXZ]{4}(?:-[BCDFGHJKLMNPQRSTVWXZ]{4}){1,3}($|[^A-Za-z0-9-])`), "${1}" + Mark + "${2}"},
	{"WireGuard key", regexp.MustCompile(`(^|[^A-Za-z0-9+/=])[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=`), "${1}" + Mark},
}

// Variable is a variable of the environment as it may be told: its name says
// whether it is a secret.
func (r *Redactor) Variable(name, value string) string {
	if secretName.MatchString(name) {
		return Mark
	}
	// A proxy may stand without its scheme: user:password@host.
	if at := strings.LastIndex(value, "@"); at >= 0 && !strings.Contains(value, "://") {
		value = Mark + value[at:]
	}
	return r.Text(value)
}

var secretName = regexp.MustCompile(`(?i)` + secretWords)

// secretKey is a key in JSON whose text is a secret.
var secretKey = regexp.MustCompile(`(?i)` + secretWords + `$`)
