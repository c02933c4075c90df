package doctor

import (
	"fmt"
	"net/http"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

func judgeProxy(f *Facts) Finding {
	service, user := f.Proxies.Service, f.Proxies.User
	switch {
	case service.Err != nil:
		return fail(fmt.Sprintf("the daemon's environment has %s=%s, and that proxy cannot be used: %s", service.Variable, service.Value, service.Err),
			"correct or remove the variable "+f.words.environment+", and "+f.words.run+f.words.restart)
	case user.Err != nil:
		return warn(fmt.Sprintf("your environment has %s=%s, and that proxy cannot be used: %s; the tunnel does not go by it, but other programs do", user.Variable, user.Value, user.Err),
			"correct it, or run: unset "+user.Variable)
	case service.Variable != "":
		return well("the daemon goes through the proxy %s (%s), which takes connections", service.Value, service.Variable)
	}
	return well("none is set for the daemon")
}

// isControl are the problems of the control plane but the refused token, which
// is the sign-in's.
func (c Control) problem() *localv1.Problem {
	if c.Problem.GetCode() == "signed-out" {
		return nil
	}
	return c.Problem
}

func judgeControl(f *Facts) Finding {
	c := f.Control
	problem := c.problem()
	switch {
	case problem != nil && c.Asked && c.Err == nil && c.HTTP == http.StatusOK:
		return fail(fmt.Sprintf("the daemon is not connected (%s), although the control plane answers this program", problem.GetCause()), problem.GetRemedy())
	case problem != nil && c.Err != nil:
		return fail(fmt.Sprintf("%s; doctor is not answered either: %s", problem.GetCause(), c.Err), problem.GetRemedy())
	case problem != nil:
		return fail(problem.GetCause(), problem.GetRemedy())
	case !c.Connected && c.Err != nil:
		return fail("the control plane does not answer: "+c.Err.Error(), "check the network, and what may drop the packets: a firewall, a VPN, a captive portal")
	case !c.Connected:
		return warn("the daemon is connecting to the control plane", "wait a moment")
	case c.Err != nil:
		return warn("the daemon is connected, but a new request to the control plane is not answered: "+c.Err.Error(),
			"check what may drop it (a firewall, a VPN, a proxy); the connection that stands goes on working")
	case c.Asked && c.HTTP != http.StatusOK:
		return warn(fmt.Sprintf("the daemon is connected, but a new request was answered with HTTP %d", c.HTTP), "ask the administrator of the deployment")
	}
	return well("connected to %s", f.Tunnel.Status.GetUrl())
}

const (
	// skewWarning is past what a host with a time service shows, and far past the
	// second that the Date header is good to.
	skewWarning = time.Minute
	// skewFailure is where others begin to refuse: Kerberos's and most token
	// issuers' allowance is 5 minutes.
	skewFailure = 5 * time.Minute
)

func judgeClock(f *Facts) Finding {
	c := f.Control
	if c.Date.IsZero() {
		return nothing("the control plane told no time to compare with")
	}
	off := c.Skew.Abs()
	if off < skewWarning {
		return well("it agrees with the control plane's to %s", atLeast(off, time.Second))
	}
	word := "ahead of"
	if c.Skew < 0 {
		word = "behind"
	}
	cause := fmt.Sprintf("this host's clock is %s %s the control plane's", off.Round(time.Second), word)
	remedy := "find out which of the two is wrong; " + f.words.setTime
	if off < skewFailure {
		return warn(cause, remedy)
	}
	return fail(cause+", at which certificates and tokens begin to be refused", remedy)
}

// atLeast rounds up to what the measurement is good for.
func atLeast(d, unit time.Duration) time.Duration { return d.Truncate(unit) + unit }

func judgeRelay(f *Facts) Finding {
	if problem := f.Tunnel.problem("relay-unreachable"); problem != nil {
		return fail(problem.GetCause(), problem.GetRemedy())
	}
	if !f.Tunnel.RelayAsked {
		return nothing("no relay is known yet")
	}
	if text := f.Tunnel.RelayError; text != "" {
		return fail("the home relay does not answer: "+text,
			"check that this host reaches the relay (a firewall or a proxy may be in the way); workspaces without a direct path cannot be reached until then")
	}
	home := f.Tunnel.Status.GetHomeRelay()
	if home.GetName() == "" {
		return well("it answers")
	}
	return well("%s answers", home.GetName())
}
