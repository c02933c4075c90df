package agent

import (
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/agent/httpapi"
	"github.com/causewayhq/causeway/agent/speedtest"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// Ports of the tailnet beside those of SSH and terminals (docs of the protocol, 5.1).
const (
	speedtestPort = 3
	httpPort      = 4
)

// side is what the agent serves besides its workspace, over every network it has.
type side struct {
	http  *httpapi.Server
	speed *speedtest.Server
}

// newSide needs everything of the agent but its network.
func (a *agent) newSide(logs *httpapi.Ring) side {
	return side{
		speed: speedtest.New(a.log),
		http: httpapi.New(httpapi.Config{
			Logger: a.log, Version: a.config.Version, Logs: logs, HostKeys: []ssh.PublicKey{a.state.HostKey().PublicKey()},
			Network: a.shownNetwork, Manifest: a.shownManifest, Metrics: a.metrics, Terminals: shownTerminals{a.terminals},
		}),
	}
}

// listeners are what serves each of the ports.
func (s side) listeners() map[uint16]func(net.Listener) error {
	return map[uint16]func(net.Listener) error{speedtestPort: s.speed.Serve, httpPort: s.http.Serve}
}

// listenBeside serves the ports of the side on a network; they end with it.
func (a *agent) listenBeside(created network) error {
	for port, serve := range a.side.listeners() {
		listener, err := created.Listen(port)
		if err != nil {
			return fmt.Errorf("listen on port %d of the tailnet: %w", port, err)
		}
		a.work.Go(func() {
			if err := serve(listener); err != nil {
				a.log.Debug("listener ended", slog.Int("port", int(port)), slog.String("error", err.Error()))
			}
		})
	}
	return nil
}

// close ends what is being served.
func (s side) close(log *slog.Logger) {
	s.speed.Close()
	if err := s.http.Close(); err != nil {
		log.Warn("HTTP API did not close cleanly", slog.String("error", err.Error()))
	}
}

func (a *agent) shownNetwork() httpapi.Network {
	a.mu.Lock()
	defer a.mu.Unlock()
	// Not every network can be looked into; none is nil of another type.
	shown, _ := a.network.(httpapi.Network)
	return shown
}

func (a *agent) shownManifest() *agentv2.Manifest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.manifest.message
}

func (a *agent) metrics() []httpapi.Metric {
	a.mu.Lock()
	forwards, connected := a.forwards, a.connected
	a.mu.Unlock()
	value := 0.0
	if connected {
		value = 1
	}
	out := []httpapi.Metric{{Name: "control_connected", Kind: "gauge", Help: "1 while the control plane is connected.", Value: value}}
	if forwards != nil {
		out = append(out, forwards.metrics()...)
	}
	return out
}
