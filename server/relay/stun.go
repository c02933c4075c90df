package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"tailscale.com/net/stun"
)

// stunPacketLimit is the largest request that is read, in bytes: far above any
// binding request, which fits one datagram of the smallest MTU.
const stunPacketLimit = 1500

// STUN tells peers by which address the world sees them. Close ends it and
// waits.
type STUN struct {
	conn    *net.UDPConn
	logger  *slog.Logger
	running sync.WaitGroup
}

// ListenSTUN answers binding requests at a UDP address such as ":3478". Port 0
// takes any.
func ListenSTUN(address string, logger *slog.Logger) (*STUN, error) {
	local, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for STUN on %s: %w", address, err)
	}
	conn, err := net.ListenUDP("udp", local)
	if err != nil {
		return nil, fmt.Errorf("listen for STUN on %s: %w", address, err)
	}
	s := &STUN{conn: conn, logger: logger}
	s.running.Go(s.serve)
	return s, nil
}

// Addr is the address that it listens on.
func (s *STUN) Addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Close ends the answers.
func (s *STUN) Close() error {
	err := s.conn.Close()
	s.running.Wait()
	if err != nil {
		return fmt.Errorf("close STUN: %w", err)
	}
	return nil
}

func (s *STUN) serve() {
	buf := make([]byte, stunPacketLimit)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Such as an ICMP error for an earlier answer. The pause is for an
			// error that stays.
			s.logger.Debug("read STUN request", slog.Any("error", err))
			time.Sleep(10 * time.Millisecond)
			continue
		}
		answer := answerSTUN(buf[:n], from)
		if answer == nil {
			continue
		}
		if _, err := s.conn.WriteToUDPAddrPort(answer, from); err != nil {
			s.logger.Debug("write STUN answer", slog.Any("error", err))
		}
	}
}

// answerSTUN is nil for everything but a binding request.
func answerSTUN(packet []byte, from netip.AddrPort) []byte {
	if !stun.Is(packet) {
		return nil
	}
	transaction, err := stun.ParseBindingRequest(packet)
	if err != nil {
		return nil
	}
	return stun.Response(transaction, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
}
