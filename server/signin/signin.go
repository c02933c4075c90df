package signin

import (
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/causewayhq/causeway/server/limit"
	"github.com/causewayhq/causeway/server/store"
)

// Config is what the pages are made of. All fields are needed.
type Config struct {
	Logger *slog.Logger
	Store  *store.Store
	// AccessURL is how people and programs reach this server, without a slash at
	// its end. Cookies are for https only when it is https.
	AccessURL string
	// Changed is called after a token was revoked.
	Changed func()
}

// Attempts. The numbers let a person mistype, and an office behind one address
// come at once; a guesser gets 5 passwords at once and 120 an hour from one
// address, and 4,320 a day from all addresses together, of one account. A correct
// sign-in counts for nothing, and a one-time code, which cannot be guessed, is
// taken also while an account is under attack.
const (
	addressBurst, addressEvery = 30, 2 * time.Second
	pairBurst, pairEvery       = 5, 30 * time.Second
	accountBurst, accountEvery = 30, 20 * time.Second
	// A user code has 34 bits: see userCodeLength.
	entryBurst, entryEvery = 10, 10 * time.Second
	// Devices that ask for codes, by address: an office, and a script in a loop.
	startBurst, startEvery = 120, time.Second
	// remembered bounds the keys of each meter.
	remembered = 1 << 14
)

// pair is a user's name as it is typed, at an address.
type pair struct {
	account digest
	address netip.Prefix
}

// Server serves the pages and endpoints. It holds nothing that needs closing.
type Server struct {
	config Config
	secure bool // the access URL is https
	grants *grants
	cross  *http.CrossOriginProtection

	addresses *limit.Meter[netip.Prefix]
	pairs     *limit.Meter[pair]
	accounts  *limit.Meter[digest]
	entries   *limit.Meter[digest]
	starts    *limit.Meter[netip.Prefix]
}

// New makes the server.
func New(config Config) *Server {
	s := &Server{config: config, grants: newGrants(), cross: http.NewCrossOriginProtection()}
	if parsed, err := url.Parse(config.AccessURL); err == nil {
		s.secure = parsed.Scheme == "https"
		// A proxy may have changed the Host that an origin is compared with. An
		// access URL has scheme and host, so this cannot fail.
		_ = s.cross.AddTrustedOrigin(config.AccessURL)
	}
	s.addresses = limit.NewMeter[netip.Prefix](addressBurst, addressEvery, remembered)
	s.pairs = limit.NewMeter[pair](pairBurst, pairEvery, remembered)
	s.accounts = limit.NewMeter[digest](accountBurst, accountEvery, remembered)
	s.entries = limit.NewMeter[digest](entryBurst, entryEvery, remembered)
	s.starts = limit.NewMeter[netip.Prefix](startBurst, startEvery, remembered)
	return s
}

// Handler serves the pages and endpoints, and leaves everything else to rest.
func (s *Server) Handler(rest http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", rest)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if wantsPage(r) {
			s.page(s.home)(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
	for pattern, handler := range map[string]func(*visit){
		"GET /login":             s.showLogin,
		"POST /login":            s.login,
		"POST /logout":           s.logout,
		"GET /device":            s.signedIn(s.showDevice),
		"POST /device":           s.signedIn(s.answerDevice),
		"GET /cli-auth":          s.signedIn(s.showCLIAuth),
		"POST /cli-auth":         s.signedIn(s.createCLIToken),
		"GET /oauth2/authorize":  s.showConsent,
		"POST /oauth2/authorize": s.answerConsent,
	} {
		mux.HandleFunc(pattern, s.page(handler))
	}
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.metadata)
	mux.HandleFunc("POST /oauth2/device", s.endpoint(s.startDevice))
	mux.HandleFunc("POST /oauth2/token", s.endpoint(s.token))
	mux.HandleFunc("POST /oauth2/revoke", s.endpoint(s.revokeToken))
	return mux
}

// wantsPage says whether a browser asks, and not a program: browsers name HTML
// before anything else.
func wantsPage(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
	kind, _, _ := strings.Cut(first, ";")
	return strings.TrimSpace(kind) == "text/html"
}
