package httpapi

import (
	"errors"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/causewayhq/causeway/proto/suffix"
)

// guard keeps pages in the browsers of the user's desktop out: the tunnel is the
// machine's, so such a page can send requests here, though without our leave
// (CORS, which nobody gets) it reads no answer. Two ways remain, and both end here:
//
//   - A page whose name was made to mean our address (DNS rebinding) reads
//     everything, as it is from where it asks. Its requests name the page's host.
//     Ours are addresses, or names that begin as this agent's do and end in what
//     no registry sells: who wants to forge one needs the resolver of the user's
//     network and the names of the workspace, which our own resolver answers first.
//   - A request may change something although its answer is not read. Those of
//     browsers are refused, and what has a body must say that it is JSON, which
//     makes browsers ask first, in vain.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		if err := s.checkHost(r.Host); err != nil {
			fail(w, http.StatusMisdirectedRequest, "Ask by the address of the agent.", err)
			return
		}
		if changes(r) {
			if sign := browserSign(r); sign != "" {
				fail(w, http.StatusForbidden, "Pages in browsers cannot do this.", errors.New("the request has "+sign))
				return
			}
			kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
			if r.Method == http.MethodPost && r.ContentLength != 0 && kind != "application/json" {
				fail(w, http.StatusUnsupportedMediaType, "Send JSON, with its content type.", nil)
				return
			}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// checkHost takes addresses, and names of this agent that public DNS cannot
// hold: whoever has a public name decides what it means, from one moment to the next.
func (s *Server) checkHost(host string) error {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	ending, ours := s.ending(strings.TrimSuffix(strings.ToLower(name), "."))
	if !ours {
		return errors.New("the request names another host")
	}
	if suffix.Check(ending[strings.LastIndexByte(ending, '.')+1:]) != nil {
		return errors.New("the host that the request names may belong to anybody")
	}
	return nil
}

// ending is what follows the part of a name that says which agent is meant.
func (s *Server) ending(name string) (ending string, ours bool) {
	current := s.config.Manifest()
	agent, workspace := strings.ToLower(current.GetAgentName()), strings.ToLower(current.GetWorkspaceName())
	if agent == "" || workspace == "" {
		return "", false
	}
	long := agent + "." + workspace + "."
	for _, start := range []string{long + "me.", long + strings.ToLower(current.GetOwnerUsername()) + ".", workspace + "."} {
		if ending, ours = strings.CutPrefix(name, start); ours && ending != "" {
			return ending, true
		}
	}
	return "", false
}

// changes says whether a request does something. Switching the log is among it
// whatever the method, as it is a plain GET elsewhere.
func changes(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead || strings.HasPrefix(r.URL.Path, "/debug/magicsock/debug-logging")
}

// browserSign is what shows that a browser sends the request, or "". Each browser
// says Mozilla first, and a page can change that only by asking first.
func browserSign(r *http.Request) string {
	for _, name := range []string{"Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode"} {
		if r.Header.Get(name) != "" {
			return "the header " + name
		}
	}
	if strings.HasPrefix(r.UserAgent(), "Mozilla/") {
		return "a browser's User-Agent"
	}
	return ""
}
