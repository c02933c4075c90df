package doctor

import (
	"fmt"

	"github.com/causewayhq/causeway/localapi"
)

// The identifiers of the checks, which are published: --json tells them.
const (
	idService   = "service"
	idSocket    = "socket"
	idVersion   = "version"
	idSignIn    = "sign-in"
	idTunnel    = "tunnel"
	idProxy     = "proxy"
	idControl   = "control-plane"
	idClock     = "clock"
	idRelay     = "relay"
	idInterface = "interface"
	idRoute     = "route"
	idPassage   = "passage"
	idResolver  = "resolver"
	idLinkDNS   = "link-dns"
	idTLS       = "dns-over-tls"
	idNames     = "names"
	idAgents    = "agents"
	idMTU       = "path-mtu"
	idRest      = "rest"
)

// check is one row of the table.
type check struct {
	id, title string
	// after are the checks without which this one can say nothing.
	after []string
	needs []stage
	judge func(*Facts) Finding
}

func well(format string, values ...any) Finding {
	return Finding{Result: OK, Cause: fmt.Sprintf(format, values...)}
}

func nothing(format string, values ...any) Finding {
	return Finding{Result: Skipped, Cause: fmt.Sprintf(format, values...)}
}

func skippedFor(check string) Finding { return Finding{Result: Skipped, Because: check} }

func warn(cause, remedy string) Finding {
	return Finding{Result: Warning, Cause: cause, Remedy: remedy}
}

func fail(cause, remedy string) Finding {
	return Finding{Result: Failed, Cause: cause, Remedy: remedy, Code: localapi.CodeDegraded}
}

func (f Finding) withCode(code localapi.Code) Finding {
	f.Code = code
	return f
}

func (f Finding) mendedBy(mend Mend) Finding {
	f.Mend = mend
	return f
}

func (f Finding) stopping() Finding {
	f.Stops = true
	return f
}

// checks in the order in which a packet needs things to be well: the daemon,
// what it wants, the way out, this host, and the far end.
var checks = []check{
	{idService, "the daemon runs", nil, []stage{theDaemon}, judgeService},
	{idSocket, "it can be called", []string{idService}, []stage{theDaemon, theTunnel}, judgeSocket},
	{idVersion, "it fits this program", []string{idSocket}, []stage{theDaemon}, judgeVersion},
	{idSignIn, "signed in", []string{idSocket, idVersion}, []stage{theTunnel}, judgeSignIn},
	{idTunnel, "the tunnel is up", []string{idSocket, idVersion}, []stage{theTunnel}, judgeTunnel},
	{idProxy, "proxy variables", []string{idSocket, idVersion}, []stage{theTunnel, theProxies}, judgeProxy},
	{idControl, "control plane", []string{idSignIn, idTunnel, idProxy}, []stage{theTunnel, theProxies, theControl}, judgeControl},
	{idClock, "this host's clock", []string{idSocket, idVersion, idProxy}, []stage{theTunnel, theProxies, theControl}, judgeClock},
	{idRelay, "home relay", []string{idTunnel, idProxy}, []stage{theTunnel}, judgeRelay},
	{idInterface, "tunnel interface", []string{idTunnel}, []stage{theTunnel, theHost}, judgeInterface},
	{idRoute, "routes into it", []string{idInterface}, []stage{theTunnel, theHost}, judgeRoute},
	{idPassage, "packets pass into it", []string{idInterface, idRoute}, []stage{theTunnel, thePassage}, judgePassage},
	{idResolver, "who resolves names", []string{idTunnel, idRoute, idPassage}, []stage{theTunnel, theNames}, judgeResolver},
	{idLinkDNS, "DNS of the interface", []string{idInterface, idRoute, idPassage}, []stage{theTunnel, theNames}, judgeLinkDNS},
	{idTLS, "DNS over TLS", []string{idInterface, idRoute, idPassage}, []stage{theTunnel, theNames}, judgeTLS},
	{idNames, "names answer", []string{idInterface, idRoute, idPassage, idResolver, idLinkDNS, idTLS}, []stage{theTunnel, theNames}, judgeNames},
	{idAgents, "workspaces answer", []string{idTunnel}, []stage{theTunnel, theAgents}, judgeAgents},
	{idMTU, "full-size packets", []string{idTunnel}, []stage{theTunnel, theAgents}, judgeMTU},
	{idRest, "anything else", []string{idTunnel, idInterface, idRoute, idPassage, idResolver, idLinkDNS, idNames}, []stage{theTunnel, theComplaints}, judgeRest},
}
