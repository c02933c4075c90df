package signin

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// authorization is a request of the authorization endpoint (RFC 6749, 4.1.1 and
// RFC 7636, 4.3).
type authorization struct {
	redirect, state, challenge, name string
}

// loopback is where a code may be sent: to a program on the machine of the
// browser (RFC 8252, 7.3), by address, because a name may be resolved elsewhere.
// It is matched as text, so that no two readings of a URL can differ.
var loopback = regexp.MustCompile(`^http://(127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})/callback$`)

func loopbackRedirect(uri string) bool {
	match := loopback.FindStringSubmatch(uri)
	if match == nil {
		return false
	}
	port, err := strconv.Atoi(match[2])
	return err == nil && port <= 65535
}

// stateLimit bounds the client's state; 32 random bytes are 43.
const stateLimit = 512

// readAuthorization checks a request. Where the client or the redirect is wrong
// nothing is sent anywhere (RFC 6749, 4.1.2.1): the page says so and found is
// false. Any other problem goes back to the client.
func readAuthorization(fields url.Values) (request authorization, problem *oauthError, found bool) {
	request = authorization{fields.Get("redirect_uri"), fields.Get("state"), fields.Get("code_challenge"), cleanName(fields.Get("device_name"))}
	if fields.Get("client_id") != clientID || !loopbackRedirect(request.redirect) {
		return authorization{}, nil, false
	}
	challenge, err := base64.RawURLEncoding.Strict().DecodeString(request.challenge)
	switch {
	case fields.Get("response_type") == "":
		problem = refuse("invalid_request", "Send response_type=code.")
	case fields.Get("response_type") != "code":
		problem = refuse("unsupported_response_type", "Use response_type=code.")
	case request.state == "" || len(request.state) > stateLimit:
		problem = refuse("invalid_request", "Send a state of 1 to 512 bytes.")
		request.state = ""
	case fields.Get("code_challenge_method") != "S256" || err != nil || len(challenge) != 32:
		problem = refuse("invalid_request", "Send a code_challenge of the method S256.")
	}
	return request, problem, true
}

// sendBack leads the browser to the client, with a code or an error.
func (v *visit) sendBack(request authorization, answer url.Values) {
	answer.Set("iss", v.s.config.AccessURL)
	if request.state != "" {
		answer.Set("state", request.state)
	}
	v.redirect(request.redirect + "?" + answer.Encode())
}

func (v *visit) sendProblem(request authorization, problem *oauthError) {
	v.sendBack(request, url.Values{"error": {problem.Code}, "error_description": {problem.Description}})
}

// authorization reads the request of a page, and sees to it when it is wrong.
func (v *visit) authorization(fields url.Values) (authorization, bool) {
	request, problem, found := readAuthorization(fields)
	switch {
	case !found:
		v.fail(http.StatusBadRequest, "This sign-in request is not valid",
			"It does not come from a Causeway program on this machine, so nothing was sent anywhere. Start again with: causeway login "+v.s.config.AccessURL)
	case problem != nil:
		v.sendProblem(request, problem)
	}
	return request, found && problem == nil
}

type consentPage struct {
	Name, Redirect, State, Challenge, Port, Asked string
}

func (s *Server) showConsent(v *visit) {
	fields, err := parseFields(v.r.URL.RawQuery)
	if err != nil {
		v.fail(http.StatusBadRequest, "This sign-in request is not valid", "It cannot be read: "+err.Error()+". Start again with: causeway login "+s.config.AccessURL)
		return
	}
	// Before the sign-in: nobody types a password for a request that is none.
	request, good := v.authorization(fields)
	if !good {
		return
	}
	if v.user == nil {
		v.toLogin()
		return
	}
	v.action = formTarget(request.redirect)
	target := strings.TrimSuffix(strings.TrimPrefix(request.redirect, "http://"), "/callback")
	v.render(http.StatusOK, "consent.html", view{Title: "Sign in this computer?", Own: consentPage{
		Name: request.name, Redirect: request.redirect, State: request.state, Challenge: request.challenge,
		Port: target, Asked: clock(time.Now()),
	}})
}

// formTarget lets the consent form lead to the client: browsers hold redirects
// after a form to form-action too. Sources there cannot name an IPv6 address, so
// that one gets the scheme; the redirect itself is checked here in any case.
func formTarget(redirect string) string {
	if strings.Contains(redirect, "[") {
		return "http:"
	}
	return strings.TrimSuffix(redirect, "/callback")
}

func (s *Server) answerConsent(v *visit) {
	request, good := v.authorization(v.form)
	if !good {
		return
	}
	if v.user == nil {
		v.fail(http.StatusForbidden, "You are signed out", "Nothing was done. Start again with: causeway login "+s.config.AccessURL)
		return
	}
	switch v.form.Get("action") {
	case "approve":
	case "deny":
		v.sendProblem(request, errDenied)
		return
	default:
		v.fail(http.StatusBadRequest, "The form cannot be read", "Nothing was done. Open the page again.")
		return
	}
	code, problem := s.grants.addCode(&codeGrant{
		owner: v.proof, name: request.name, redirect: request.redirect, challenge: request.challenge, issued: time.Now(),
	})
	if problem != nil {
		v.sendProblem(request, problem)
		return
	}
	v.logger().Info("sign-in approved", slog.String("user", v.user.Name), slog.String("device", request.name))
	v.sendBack(request, url.Values{"code": {code}})
}
