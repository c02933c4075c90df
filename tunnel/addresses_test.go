package tunnel

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	goodAddr  = netip.MustParseAddr("192.0.2.1")
	wrongAddr = netip.MustParseAddr("198.51.100.1")
	deadAddr  = netip.MustParseAddr("203.0.113.1")
)

// atConn is a connection that knows where it ends.
type atConn struct {
	net.Conn
	addr netip.Addr
}

// internet is a set of addresses: the good and the wrong one take connections,
// the dead one swallows packets, others refuse.
type internet struct {
	mu     sync.Mutex
	dialed []netip.Addr
	open   int
}

func (i *internet) connect(ctx context.Context, _, address string) (net.Conn, error) {
	at := netip.MustParseAddrPort(address).Addr()
	i.mu.Lock()
	i.dialed = append(i.dialed, at)
	i.mu.Unlock()
	switch at {
	case goodAddr, wrongAddr:
		near, far := net.Pipe()
		far.Close()
		i.mu.Lock()
		i.open++
		i.mu.Unlock()
		return &atConn{closing{near, i}, at}, nil
	case deadAddr:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("dial %s: connection refused", at)
}

type closing struct {
	net.Conn
	of *internet
}

func (c closing) Close() error {
	c.of.mu.Lock()
	c.of.open--
	c.of.mu.Unlock()
	return c.Conn.Close()
}

var errCertificate = errors.New("certificate is for another name")

// certified stands for TLS: only the good address has the certificate.
func certified(_ context.Context, conn net.Conn) (net.Conn, error) {
	if conn.(*atConn).addr != goodAddr {
		conn.Close()
		return nil, errCertificate
	}
	return conn, nil
}

// The resolvers of the tests.
func unanswering(ctx context.Context, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func denying(_ context.Context, host string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func answering(addrs ...netip.Addr) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) ([]netip.Addr, error) { return addrs, nil }
}

func slowly(wait time.Duration, addrs ...netip.Addr) func(context.Context, string) ([]netip.Addr, error) {
	return func(ctx context.Context, _ string) ([]netip.Addr, error) {
		pause(ctx, wait)
		return addrs, ctx.Err()
	}
}

func TestDialByTheBook(t *testing.T) {
	tests := []struct {
		name   string
		lookup func(context.Context, string) ([]netip.Addr, error)
		known  []netip.Addr
		secure bool
		want   netip.Addr // zero: it fails
		after  time.Duration
		text   string // of the error
	}{
		{"resolver answers", answering(goodAddr), nil, true, goodAddr, 0, ""},
		{"resolver answers, an older address is known", answering(goodAddr), []netip.Addr{deadAddr}, true, goodAddr, 0, ""},
		{"resolver is slow, nothing known", slowly(4*time.Second, goodAddr), nil, true, goodAddr, 4 * time.Second, ""},
		{"resolver never answers", unanswering, []netip.Addr{goodAddr}, true, goodAddr, headStart, ""},
		{"resolver never answers, no TLS", unanswering, []netip.Addr{goodAddr}, false, goodAddr, plainStart, ""},
		{"resolver never answers, nothing known", unanswering, nil, true, netip.Addr{}, dialLimit, "look up plane.test: no answer"},
		{"no such host", denying, []netip.Addr{goodAddr}, true, goodAddr, 0, ""},
		{"no such host, no TLS", denying, []netip.Addr{goodAddr}, false, goodAddr, 0, ""},
		{"no such host, nothing known", denying, nil, true, netip.Addr{}, 0, "no such host"},
		{"no such host, known address is stale", denying, []netip.Addr{wrongAddr}, true, netip.Addr{}, 0, "no such host"},
		{"empty answer", answering(), nil, true, netip.Addr{}, 0, "no address"},
		{"wrong address", answering(wrongAddr), []netip.Addr{goodAddr}, true, goodAddr, 0, ""},
		{"wrong address that is silent", answering(deadAddr), []netip.Addr{goodAddr}, true, goodAddr, stagger, ""},
		{"wrong address, nothing known", answering(wrongAddr), nil, true, netip.Addr{}, 0, errCertificate.Error()},
		// Nothing tells which of the two is the host: the resolver has the say.
		{"other address, no TLS", answering(wrongAddr), []netip.Addr{goodAddr}, false, wrongAddr, 0, ""},
		{"silent address, no TLS", answering(deadAddr), []netip.Addr{goodAddr}, false, netip.Addr{}, dialLimit, context.DeadlineExceeded.Error()},
		{"host is blocked", answering(netip.IPv4Unspecified(), netip.IPv6Unspecified()), []netip.Addr{goodAddr}, true, goodAddr, 0, ""},
		{"known address is silent, resolver slow", slowly(time.Second, goodAddr), []netip.Addr{deadAddr}, true, goodAddr, time.Second, ""},
		{"the answer leads into the tunnel", answering(addrOf("main")), nil, true, netip.Addr{}, 0, "inside the tunnel itself"},
		{"one answer leads into the tunnel", answering(addrOf("gone"), goodAddr), nil, false, goodAddr, 0, ""},
		{"first of two is silent", answering(deadAddr, goodAddr), nil, true, goodAddr, stagger, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				world := &internet{}
				book := newAddressBook()
				book.lookup, book.connect = test.lookup, world.connect
				if test.known != nil {
					book.restore(map[string]place{"plane.test": {Addrs: test.known}})
				}
				var then secure
				if test.secure {
					then = certified
				}
				began := time.Now()
				conn, err := book.dial(t.Context(), "tcp", "plane.test:443", then)
				took := time.Since(began)
				if took != test.after {
					t.Errorf("took %v, want %v", took, test.after)
				}
				if !test.want.IsValid() {
					if err == nil || !strings.Contains(err.Error(), test.text) {
						t.Fatalf("got %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if at := conn.(*atConn).addr; at != test.want {
					t.Errorf("reached %s", at)
				}
				if first := book.remembered("plane.test")[0]; first != test.want {
					t.Errorf("remembers %s first", first)
				}
				conn.Close()
				synctest.Wait()
				if world.open != 0 {
					t.Errorf("%d connections were left open", world.open)
				}
			})
		})
	}
}

// Many dials at once, of hosts that come and go, share a book.
func TestBookIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := &internet{}
		book := newAddressBook()
		var changes atomic.Int32
		book.onChange(func() { changes.Add(1) })
		book.connect = world.connect
		book.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			list := []netip.Addr{goodAddr}
			for i := range 2 * addrsKept {
				list = append(list, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + len(host))}))
			}
			return list, nil
		}
		var group sync.WaitGroup
		for i := range 4 * hostsKept {
			group.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				conn, err := book.dial(t.Context(), "tcp", fmt.Sprintf("host%d.test:443", i%(2*hostsKept)), certified)
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
				book.places()
			})
		}
		group.Wait()
		places := book.places()
		if err := checkPlaces(places); err != nil || len(places) != hostsKept {
			t.Errorf("%d hosts, %v", len(places), err)
		}
		if _, found := places[fmt.Sprintf("host%d.test", 2*hostsKept-1)]; !found {
			t.Error("the newest is not there")
		}
		before := changes.Load()
		conn, err := book.dial(t.Context(), "tcp", fmt.Sprintf("host%d.test:443", 2*hostsKept-1), certified)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if changes.Load() != before {
			t.Error("a dial that taught nothing is a change")
		}
	})
}

// What was only heard does not push aside where we have been.
func TestHearsayIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := &internet{}
		book := newAddressBook()
		book.lookup, book.connect = answering(goodAddr), world.connect
		if got := book.Known("relay.test"); len(got) != 0 {
			t.Errorf("knows %v", got)
		}
		conn, err := book.dial(t.Context(), "tcp", "relay.test:443", certified)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		book.lookup = answering(wrongAddr)
		if got := book.Resolve(t.Context(), "relay.test"); !slices.Equal(got, []netip.Addr{wrongAddr}) {
			t.Errorf("resolved %v", got)
		}
		if got := book.Known("relay.test"); !slices.Equal(got, []netip.Addr{goodAddr}) {
			t.Errorf("knows %v", got)
		}
		book.Resolve(t.Context(), "stun.test")
		if got := book.Known("stun.test"); !slices.Equal(got, []netip.Addr{wrongAddr}) {
			t.Errorf("knows %v", got)
		}
		book.lookup = answering(netip.IPv4Unspecified(), netip.Addr{}) // as ad blockers do
		if got := book.Resolve(t.Context(), "blocked.test"); got != nil || checkPlaces(book.places()) != nil {
			t.Errorf("a blocked host is at %v", got)
		}
		book.lookup = unanswering
		began := time.Now()
		if got := book.Resolve(t.Context(), "stun.test"); got != nil || time.Since(began) != plainStart {
			t.Errorf("a dead resolver gave %v after %v", got, time.Since(began))
		}
	})
}

func TestKnownAddressesAreChecked(t *testing.T) {
	many := map[string]place{}
	for i := range hostsKept + 1 {
		many[fmt.Sprint(i)] = place{Addrs: []netip.Addr{goodAddr}}
	}
	for name, bad := range map[string]map[string]place{
		"too many hosts":     many,
		"no name":            {"": {Addrs: []netip.Addr{goodAddr}}},
		"long name":          {strings.Repeat("x", hostLimit+1): {Addrs: []netip.Addr{goodAddr}}},
		"no address":         {"a": {}},
		"zero address":       {"a": {Addrs: []netip.Addr{{}}}},
		"multicast":          {"a": {Addrs: []netip.Addr{netip.MustParseAddr("ff02::1")}}},
		"unspecified":        {"a": {Addrs: []netip.Addr{netip.IPv4Unspecified()}}},
		"too many addresses": {"a": {Addrs: slices.Repeat([]netip.Addr{goodAddr}, addrsKept+1)}},
	} {
		if checkPlaces(bad) == nil {
			t.Errorf("%s was taken", name)
		}
		kept := full(t)
		kept.Places = bad
		disk := store{t.TempDir()}
		if err := disk.save(kept); err != nil {
			t.Fatal(err)
		}
		if _, _, err := disk.load(); !errors.Is(err, errCorrupt) {
			t.Errorf("%s was loaded: %v", name, err)
		}
	}
}

// Real TLS: the certificate is checked against the host's name at whatever
// address it was found, and what has the wrong one is passed over.
func TestCertificateDecidesBetweenAddresses(t *testing.T) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	good := httptest.NewTLSServer(hello) // its certificate is for example.com
	defer good.Close()
	port := good.Listener.Addr().(*net.TCPAddr).Port
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port))
	if err != nil {
		t.Skip("no second loopback address: ", err)
	}
	portal := httptest.NewUnstartedServer(hello)
	portal.Listener.Close()
	portal.Listener = listener
	portal.Config.ErrorLog = log.New(io.Discard, "", 0)
	portal.TLS = &tls.Config{Certificates: []tls.Certificate{strangeCertificate(t)}}
	portal.StartTLS()
	defer portal.Close()
	book := newAddressBook()
	book.lookup = answering(netip.MustParseAddr("127.0.0.2"))
	roots := x509.NewCertPool()
	roots.AddCert(good.Certificate())
	web := httpClient(Profile{TLS: &tls.Config{RootCAs: roots}}, book)
	defer web.CloseIdleConnections()
	get := func() error {
		response, err := web.Get(fmt.Sprintf("https://example.com:%d/", port))
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	var unverified *tls.CertificateVerificationError
	if err := get(); !errors.As(err, &unverified) {
		t.Errorf("the wrong host was taken: %v", err)
	}
	if len(book.places()) != 0 {
		t.Errorf("remembered %v", book.places())
	}
	book.restore(map[string]place{"example.com": {Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}})
	if err := get(); err != nil {
		t.Errorf("the remembered address was not used: %v", err)
	}
}

// strangeCertificate is self-signed, and for another name.
func strangeCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"portal.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}
