package signin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

//go:embed pages/*.html pages/style.css
var files embed.FS

var (
	styleText = mustRead("pages/style.css")
	styleHash = hashSource(styleText)
	pages     = template.Must(template.New("").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(styleText) }, //nolint:gosec // our own file
	}).ParseFS(files, "pages/*.html"))
)

func mustRead(name string) string {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(content)
}

// hashSource allows one style by its content.
func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// secureHeaders forbids everything that the pages do not need: scripts, outside
// resources, frames of others, and copies in caches. The address of a page goes
// to nobody else; it does go to us, because browsers send no Origin with a form
// of a page that forbids it altogether.
func (v *visit) secureHeaders() {
	head := v.w.Header()
	head.Set("Content-Security-Policy", v.policy())
	head.Set("X-Frame-Options", "DENY")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")
}

func (v *visit) policy() string {
	return strings.TrimSuffix("default-src 'none'; style-src "+styleHash+"; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+v.action, " ")
}

// view is what every page shows. Own is the page's own part.
type view struct {
	Title string
	User  string // "" when not signed in
	CSRF  string
	URL   string // of this server
	Error string
	Own   any
}

// render sends a page. It is made before anything is sent, so that no page ends
// in its middle.
func (v *visit) render(status int, name string, page view) {
	page.CSRF, page.URL = v.csrf, v.s.config.AccessURL
	if v.user != nil {
		page.User = v.user.Name
	}
	v.secureHeaders()
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, name, page); err != nil {
		v.s.config.Logger.Error("page cannot be shown", slog.String("page", name), slog.Any("error", err))
		http.Error(v.w, "The page cannot be shown. The server's log has the cause.", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	// A failure here is the connection's, and there is nobody left to tell.
	_, _ = v.w.Write(body.Bytes())
}

// notice is a page that only says something.
type notice struct {
	Text string
	// Again is a page of ours to go on with, "" for none.
	Again, AgainText string
}

func (v *visit) fail(status int, title, text string) {
	v.render(status, "notice.html", view{Title: title, Error: text, Own: notice{}})
}

func (v *visit) say(title string, what notice) {
	v.render(http.StatusOK, "notice.html", view{Title: title, Own: what})
}

// tooMany is a refusal with the time to wait.
func (v *visit) tooMany(wait time.Duration) {
	v.w.Header().Set("Retry-After", seconds(wait))
	v.fail(http.StatusTooManyRequests, "Too many attempts", "Wait "+seconds(wait)+" seconds and try again. Nobody is locked out for good.")
}
