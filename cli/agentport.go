package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// reachLimit is how long a connection to an agent may take: the daemon looks for
// a path for some seconds.
const reachLimit = 10 * time.Second

// Ports of the agent itself, on its addresses in the tunnel.
const (
	speedtestPort = 3
	agentHTTPPort = 4
)

// agentPort is a service of an agent, through the tunnel.
type agentPort struct {
	app   *app
	agent *localv1.AgentStatus
	addr  netip.Addr
	port  uint16
	what  string // is done with it, for errors
	// device is that of the tunnel, by which connections leave; "": by any.
	device string
}

// reach finds the agent that a name means, which is there as far as is known.
func (a *app) reach(ctx context.Context, name, what string, port uint16) (*agentPort, error) {
	status, err := a.fetch(ctx)
	if err != nil {
		return nil, err
	}
	agent, err := find(status, name)
	if err != nil {
		return nil, err
	}
	for _, address := range agent.GetAddresses() {
		if addr, err := netip.ParseAddr(address); err == nil {
			return &agentPort{app: a, agent: agent, addr: addr, port: port, what: what}, a.present(ctx, status, agent)
		}
	}
	return nil, fmt.Errorf("%s %s: the daemon knows no address of it", what, agentName(agent))
}

// dial connects, and says what it means if that fails.
func (p *agentPort) dial(ctx context.Context) (net.Conn, error) {
	conn, err := p.connect(ctx)
	if err != nil {
		return nil, p.failed(err)
	}
	return conn, nil
}

// connect is dial without this package's words.
func (p *agentPort) connect(ctx context.Context) (net.Conn, error) {
	dial := p.app.env.dialAgent
	if dial == nil {
		dial = (&net.Dialer{Control: leaveBy(p.device)}).DialContext
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	return dial(ctx, "tcp", netip.AddrPortFrom(p.addr, p.port).String())
}

// failed puts an error into the words of this command.
func (p *agentPort) failed(err error) error {
	var known *localapi.Error
	if errors.As(err, &known) {
		return known // said already
	}
	out := &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("%s %s: %s", p.what, agentName(p.agent), printable(err.Error())), Remedy: "run: causeway ping " + agentName(p.agent)}
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		out.Code = localapi.CodeTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		out.Remedy = fmt.Sprintf("the agent does not serve port %d of the tunnel; a newer causeway-agent does", p.port)
	}
	return out
}
