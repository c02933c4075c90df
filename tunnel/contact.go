package tunnel

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/control"
)

const (
	// contactGrace is how long the control plane may be away before it is a
	// problem: after a restart of it the next connection is usually there.
	contactGrace = 2 * time.Second
	// toldFor is how long a connection has to last for what ended the one before
	// to be history.
	toldFor = time.Minute
)

// controlFacts are what was measured of the control connection.
type controlFacts struct {
	connected bool
	ever      bool
	late      bool      // away for longer than the grace
	since     time.Time // of the present connection, or else since when there is none
	attempts  int       // that failed since then
	retry     time.Time // when it is tried again; zero: it is being tried
	err       error
	told      error // why the control plane ended one lately, in its words
}

// same says whether nothing that shows has changed. How often it was tried
// shows once there is a problem.
func (c controlFacts) same(other controlFacts) bool {
	return c.connected == other.connected && c.ever == other.ever && c.unreachable() == other.unreachable() &&
		(!c.unreachable() || c.attempts == other.attempts) && sameError(c.err, other.err) && sameError(c.told, other.told)
}

// unreachable holds once it has been away for longer than the grace. Without
// any connection so far, a dial that failed says enough, and so does a token
// that is refused.
func (c controlFacts) unreachable() bool {
	return !c.connected && (c.late || c.err != nil && (!c.ever || hopeless(c.err)))
}

// reported takes in a change of the control connection, or a failed dial.
func (c *controlFacts) reported(connected bool, err error, now time.Time) {
	switch {
	case connected:
		c.ever, c.since, c.attempts, c.retry = true, now, 0, time.Time{}
	case c.connected:
		c.since, c.attempts = now, 0
	default:
		c.attempts++
	}
	c.connected, c.err, c.late = connected, err, c.late && !connected
	if errors.Is(err, control.ErrTold) {
		c.told = err
	}
}

// settled forgets what has been history for long enough.
func (c *controlFacts) settled(now time.Time) {
	if c.connected && now.Sub(c.since) >= toldFor {
		c.told = nil
	}
}

// back says that this report ends a time without a control plane that was
// noticed: it ended a connection, or dials have failed.
func (c controlFacts) back(connected bool) bool {
	return connected && !c.connected && (c.ever || c.attempts > 0)
}

// problem says that it is away and for how long. Workspaces that need the relay
// go on only if that is there, as it may be the same machine.
func (c controlFacts) problem(now time.Time, relayed bool) Problem {
	cause := fmt.Sprintf("not reached yet, trying for %s", briefly(now.Sub(c.since)))
	if c.ever {
		cause = fmt.Sprintf("connection lost %s ago, trying", briefly(now.Sub(c.since)))
	}
	if c.err == nil {
		return Problem{CodeUnreachable, cause, unreachableRemedy(relayed)}
	}
	problem := controlProblem(c.err)
	if problem.Code == CodeUnreachable {
		problem.Cause = cause + ": " + problem.Cause
		if !isLookup(c.err) && !isProxy(c.err) {
			problem.Remedy = unreachableRemedy(relayed)
		}
	}
	return problem
}

func unreachableRemedy(relayed bool) string {
	going := "workspaces in use go on working meanwhile where there is a direct path; others may have to wait for it"
	if relayed {
		going = "workspaces in use go on working meanwhile; others may have to wait for it"
	}
	return "check the network; it is tried again by itself, and " + going
}

// briefly is a time as people say it.
func briefly(d time.Duration) string {
	switch {
	case d < time.Second:
		return "less than a second"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d h", int(d.Hours()))
}

// hopeless says that only the user can mend it.
func hopeless(err error) bool {
	return errors.Is(err, control.ErrSignedOut) || errors.Is(err, client.ErrSignedOut)
}

func isLookup(err error) bool {
	var lookup *net.DNSError
	return errors.As(err, &lookup)
}

// isProxy says that not even the proxy was reached.
func isProxy(err error) bool {
	var named *control.ProxyError
	var marked *net.OpError
	return errors.As(err, &named) || errors.As(err, &marked) && marked.Op == "proxyconnect" // as net/http does
}

func controlProblem(err error) Problem {
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var dial *control.DialError
	var rest *client.Error
	switch {
	case hopeless(err):
		return Problem{CodeSignedOut, err.Error(), "sign in again: causeway login"}
	case errors.Is(err, client.ErrCertificate) || errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid):
		return Problem{CodeCertificate, err.Error(), "install the authority that signed the certificate on this host, or use the URL that the certificate is for; check the clock"}
	case errors.Is(err, control.ErrTold):
		return Problem{CodeTold, err.Error(), "it is connected again by itself; if this repeats itself, the same state may be in use on two machines, else ask the administrator of the deployment"}
	case errors.Is(err, client.ErrNotControlPlane):
		return Problem{CodeNotPlane, err.Error(), "check the URL; a captive portal or a proxy may be answering instead"}
	case errors.As(err, &dial) && dial.Status == http.StatusBadRequest:
		return Problem{CodeVersion, err.Error(), "use a client whose release matches the control plane"}
	case errors.As(err, &dial) && dial.Status < http.StatusInternalServerError:
		return Problem{CodeRejected, err.Error(), "ask the administrator of the deployment"}
	case errors.As(err, &rest) && rest.Status < http.StatusInternalServerError:
		return Problem{CodeRejected, err.Error(), "ask the administrator of the deployment"}
	case isProxy(err):
		return Problem{CodeUnreachable, err.Error(), "the daemon's environment sets a proxy (HTTP_PROXY, HTTPS_PROXY) that takes no connections: " +
			"mend the proxy, or correct or unset the variable where causewayd gets it (" + environmentPlace + ") and restart causewayd"}
	case isLookup(err):
		return Problem{CodeUnreachable, err.Error(), "check the network and the host name in the URL; it is tried again by itself"}
	}
	return Problem{CodeUnreachable, err.Error(), unreachableRemedy(false)}
}

// controlChanged hears of each connection, its end, and each failed dial.
func (s *session) controlChanged(connected bool, err error) {
	t, now := s.tunnel, time.Now()
	s.engine.SetControlConnected(connected)
	var before controlFacts
	t.note(func(f *facts) {
		before = f.control
		if before.connected && !connected {
			t.saved.AsOf = now
		}
		f.control.reported(connected, err, now)
	})
	if before.back(connected) {
		t.log.Info("control plane is back", slog.Duration("away", now.Sub(before.since)))
	}
	switch {
	case connected:
		s.signal(s.connected)
	case before.connected:
		s.signal(s.parted)
		s.signal(s.doubt)
	}
}

// retrying hears when the control plane is dialled again.
func (s *session) retrying(at time.Time) {
	s.tunnel.note(func(f *facts) { f.control.retry = at })
}

// overdue notes that the control plane has been away for too long, at the start
// and after each connection that ended.
func (s *session) overdue(ctx context.Context) {
	for {
		if !pause(ctx, s.untilLate()) {
			return
		}
		if s.untilLate() > 0 {
			continue // it came and went again meanwhile
		}
		s.tunnel.note(func(f *facts) { f.control.late = !f.control.connected })
		select {
		case <-ctx.Done():
			return
		case <-s.parted:
		}
	}
}

// untilLate is what is left of the grace.
func (s *session) untilLate() time.Duration {
	s.tunnel.mu.Lock()
	defer s.tunnel.mu.Unlock()
	if s.tunnel.facts.control.connected {
		return 0
	}
	return contactGrace - time.Since(s.tunnel.facts.control.since)
}
