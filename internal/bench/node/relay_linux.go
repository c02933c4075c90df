package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/ktimeout"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/server/relay"
)

// runRelay serves our relay, or upstream's exactly as cmd/derper does (which
// itself cannot be built from our go.sum): same handler, same listener
// settings, same deadlines, certificate of the same kind.
func runRelay(ctx context.Context, flags *flag.FlagSet, args []string) error {
	listen := flags.String("listen", "", "address, for TLS and for STUN")
	kind := flags.String("kind", "ours", "ours or derper")
	profileTo := flags.String("profile", "", "file for a CPU profile")
	if err := flags.Parse(args); err != nil {
		return err
	}
	stop, err := profile(*profileTo)
	if err != nil {
		return err
	}
	defer stop()
	stun, err := relay.ListenSTUN(*listen, newLogger(false))
	if err != nil {
		return err
	}
	defer stun.Close()
	settings, err := selfSigned(*listen)
	if err != nil {
		return err
	}
	serving := &http.Server{TLSConfig: settings, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	lc := net.ListenConfig{}
	if *kind == "derper" {
		server := derpserver.New(key.NewNode(), func(string, ...any) {})
		defer server.Close()
		server.SetTCPWriteTimeout(derpserver.DefaultTCPWiteTimeout)
		server.ModifyTLSConfigToAddMetaCert(settings)
		serving.Handler = derpserver.AddWebSocketSupport(server, derpserver.Handler(server))
		serving.WriteTimeout = 30 * time.Second
		lc = net.ListenConfig{Control: ktimeout.UserTimeout(15 * time.Second), KeepAlive: 10 * time.Minute}
		lc.SetMultipathTCP(false)
	} else {
		ours := relay.New(relay.Config{Logger: newLogger(false), Key: key.NewNode(), Policy: &everybody{}})
		// After the listener: the context is over then, so this is at once.
		defer func() { _ = ours.Close(ctx) }()
		serving.Handler = ours
	}
	listener, err := lc.Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { serving.Close() })()
	fmt.Fprintln(os.Stderr, "ready")
	if err := serving.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// everybody lets all through, at the price of the coordinator's policy: a lock
// and a look-up.
type everybody struct {
	mu      sync.RWMutex
	allowed map[[2]key.NodePublic]bool
}

func (e *everybody) KnowsKey(key.NodePublic) bool { return true }

func (e *everybody) MayRelay(src, dst key.NodePublic) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return !e.allowed[[2]key.NodePublic{src, dst}]
}

// selfSigned is a certificate for the address, ECDSA P-256 as derper makes it.
func selfSigned(listen string) (*tls.Config, error) {
	addr, err := netip.ParseAddrPort(listen)
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: addr.Addr().String()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{addr.Addr().AsSlice()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	certificate := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil },
	}, nil
}
