package signin

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/causewayhq/causeway/server/store"
)

type devicePage struct {
	Code  string // as the device shows it
	Name  string
	From  string
	Asked string
	Ago   string
}

// showDevice asks for the code of a device, or about the one that the address
// names (RFC 8628, 3.3.1).
func (s *Server) showDevice(v *visit) {
	query, err := parseFields(v.r.URL.RawQuery)
	if err != nil || query.Get("user_code") == "" {
		v.enterCode(http.StatusOK, "")
		return
	}
	s.askDevice(v, query.Get("user_code"))
}

func (v *visit) enterCode(status int, problem string) {
	v.render(status, "device.html", view{Title: "Sign in a device", Error: problem})
}

const unknownCode = "No device waits with this code. Codes are good for 10 minutes and once: check it, or start the sign-in on the device again."

// askDevice shows who asks, for a yes or a no.
func (s *Server) askDevice(v *visit, typed string) {
	grant, known := s.tryCode(v, typed, func() (deviceGrant, bool) { return s.grants.asker(typed, time.Now()) })
	if !known {
		return
	}
	v.render(http.StatusOK, "confirm.html", view{Title: "Sign in this device?", Own: devicePage{
		Code: displayCode(typed), Name: grant.name, From: grant.from, Asked: clock(grant.asked), Ago: ago(time.Since(grant.asked)),
	}})
}

// tryCode looks for a code, as often as the limits allow. Where it is not found
// the page says so.
func (s *Server) tryCode(v *visit, typed string, find func() (deviceGrant, bool)) (deviceGrant, bool) {
	at, who := time.Now(), digestOf(v.user.ID.String())
	if wait := s.entries.Take(who, at); wait > 0 {
		v.tooMany(wait)
		return deviceGrant{}, false
	}
	grant, known := find()
	if !known {
		v.logger().Info("unknown device code entered", slog.String("user", v.user.Name), slog.Int("length", len(typed)))
		v.enterCode(http.StatusNotFound, unknownCode)
		return deviceGrant{}, false
	}
	s.entries.Return(who)
	return grant, true
}

func (s *Server) answerDevice(v *visit) {
	typed, what := v.form.Get("user_code"), denied
	switch v.form.Get("action") {
	case "":
		s.askDevice(v, typed)
		return
	case "approve":
		what = approved
	case "deny":
	default:
		v.fail(http.StatusBadRequest, "The form cannot be read", "Nothing was done. Open the page again.")
		return
	}
	grant, known := s.tryCode(v, typed, func() (deviceGrant, bool) { return s.grants.decide(typed, what, v.proof, time.Now()) })
	if !known {
		return
	}
	v.logger().Info("device answered", slog.String("user", v.user.Name), slog.String("device", grant.name), slog.String("from", grant.from), slog.Bool("approved", what == approved))
	if what == denied {
		v.say("Refused", notice{Text: "The device gets no access. If you did not start this sign-in, tell whoever sent you the code that you know."})
		return
	}
	v.say("Device signed in", notice{Text: "It goes on by itself within a few seconds. You can close this page."})
}

// displayCode is a code as the device shows it.
func displayCode(typed string) string {
	code := store.NormalizeCode(typed, userCodeLength)
	return code[:4] + "-" + code[4:]
}

func clock(at time.Time) string { return at.UTC().Format("15:04:05 UTC") }

func ago(since time.Duration) string {
	switch minutes := int(since / time.Minute); minutes {
	case 0:
		return "less than a minute ago"
	case 1:
		return "a minute ago"
	default:
		return strconv.Itoa(minutes) + " minutes ago"
	}
}
