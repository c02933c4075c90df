//go:build unix

package service

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	wgtun "github.com/tailscale/wireguard-go/tun"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/tun"
	"github.com/causewayhq/causeway/tunnel"
)

// nullDevice is a TUN device on which nothing comes.
type nullDevice struct {
	events chan wgtun.Event
	closed chan struct{}
	once   sync.Once
}

func newNullDevice() *nullDevice {
	d := &nullDevice{events: make(chan wgtun.Event, 1), closed: make(chan struct{})}
	d.events <- wgtun.EventUp
	return d
}

func (d *nullDevice) File() *os.File                          { return nil }
func (d *nullDevice) Read([][]byte, []int, int) (int, error)  { <-d.closed; return 0, os.ErrClosed }
func (d *nullDevice) Write(bufs [][]byte, _ int) (int, error) { return len(bufs), nil }
func (d *nullDevice) MTU() (int, error)                       { return tunnel.MTU, nil }
func (d *nullDevice) Name() (string, error)                   { return "null0", nil }
func (d *nullDevice) Events() <-chan wgtun.Event              { return d.events }
func (d *nullDevice) BatchSize() int                          { return 1 }
func (d *nullDevice) Close() error {
	d.once.Do(func() { close(d.closed); close(d.events) })
	return nil
}

// farDeployment is a deployment behind TLS of its own authority, that only a
// proxy with a password leads to: its name means nothing here.
type farDeployment struct {
	server *httptest.Server
	proxy  *httptest.Server
	access *url.URL

	mu     sync.Mutex
	seen   map[string]http.Header // by path, of requests that came through the proxy
	fresh  string                 // the value of X-Fresh that is taken
	denied int
}

func newFarDeployment(t *testing.T) *farDeployment {
	t.Helper()
	far := &farDeployment{seen: map[string]http.Header{}, fresh: "1"}
	far.server = httptest.NewUnstartedServer(http.HandlerFunc(far.serve))
	far.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	far.server.StartTLS()
	t.Cleanup(far.server.Close)
	far.proxy = httptest.NewServer(http.HandlerFunc(far.connect))
	t.Cleanup(far.proxy.Close)
	_, port, _ := net.SplitHostPort(far.server.Listener.Addr().String())
	far.access = &url.URL{Scheme: "https", Host: "example.com:" + port} // what the certificate is for
	return far
}

// connect is the proxy: CONNECT, for who has the password.
func (far *farDeployment) connect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != "Basic dTpodW50ZXIy" || r.Host != far.access.Host {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	outward, err := net.Dial("tcp", far.server.Listener.Addr().String())
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	inward, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		outward.Close()
		return
	}
	go func() {
		_, _ = io.Copy(outward, buffered)
		outward.Close()
	}()
	_, _ = io.Copy(inward, outward)
	inward.Close()
}

func (far *farDeployment) serve(w http.ResponseWriter, r *http.Request) {
	far.mu.Lock()
	defer far.mu.Unlock()
	if r.Header.Get("X-Fresh") != far.fresh {
		far.denied++
		w.WriteHeader(http.StatusForbidden)
		return
	}
	far.seen[r.URL.Path] = r.Header.Clone()
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/api/v2/users/me":
		fmt.Fprint(w, `{"id":"00000000-0000-0000-0000-00000000000a","username":"alice"}`)
	case "/api/v2/workspaceagents/connection":
		fmt.Fprintf(w, `{"derp_map":{"Regions":{"1":{"RegionID":1,"RegionCode":"one","RegionName":"One","Nodes":[
			{"Name":"1a","RegionID":1,"HostName":"example.com","DERPPort":%s,"STUNPort":-1}]}}},"hostname_suffix":"corp"}`, far.access.Port())
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// hears waits until a path was asked for, with these headers.
func (far *farDeployment) hears(t *testing.T, path string, want map[string]string) {
	t.Helper()
	var got http.Header
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		far.mu.Lock()
		got = far.seen[path]
		far.mu.Unlock()
		if got == nil {
			continue
		}
		for name, value := range want {
			if got.Get(name) != value {
				t.Errorf("%s: header %s is %q, want %q", path, name, got.Get(name), value)
			}
		}
		return
	}
	t.Errorf("nobody asked for %s through the proxy", path)
}

// TestWayToTheDeployment: sign-in, REST, websocket and relay go through the
// profile's proxy, trust its authority, and carry its headers and those of the
// machine's header command, which is asked again when they are refused.
func TestWayToTheDeployment(t *testing.T) {
	far := newFarDeployment(t)
	r := newRig(t)
	counter := filepath.Join(t.TempDir(), "value")
	put(t, counter, "1")
	file := filepath.Join(t.TempDir(), "causeway.yaml")
	put(t, file, "header-command: "+script(t, "read value < "+counter+"; echo X-Fresh=$value")+"\n")
	var err error
	if r.config.Settings, err = config.LoadValues(config.Sources{Flags: map[string]string{"config": file}, LookupEnv: r.config.LookupEnv}); err != nil {
		t.Fatal(err)
	}
	r.config.Verify = VerifyToken
	device := newNullDevice()
	r.config.NewTunnel = RealTunnels(tunnel.Config{
		Logger: r.config.Logger, StateDir: r.config.StateDir, OpenDevice: func(string, int) (tun.Device, error) { return device, nil },
	})
	_, call, stop := r.start(t)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: far.server.Certificate().Raw}))
	proxy := strings.Replace(far.proxy.URL, "http://", "http://u:hunter2@", 1)
	in := &localv1.LoginRequest{
		Url: far.access.String(), Token: goodToken, CaPem: ca, Proxy: proxy, Headers: []*localv1.Header{{Name: "X-Access", Value: "a"}},
	}
	for name, without := range map[string]func(*localv1.LoginRequest){
		"authority": func(in *localv1.LoginRequest) { in.CaPem = "" },
		"proxy":     func(in *localv1.LoginRequest) { in.Proxy = "" },
		"password":  func(in *localv1.LoginRequest) { in.Proxy = far.proxy.URL },
	} {
		less := &localv1.LoginRequest{Url: in.GetUrl(), Token: in.GetToken(), CaPem: ca, Proxy: proxy}
		without(less)
		if _, err := call.Login(t.Context(), less); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("without the %s: %v", name, err)
		}
	}
	if _, err := call.Login(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	// The value that the tunnel begins with is refused soon.
	far.mu.Lock()
	far.fresh, far.seen = "2", map[string]http.Header{}
	far.mu.Unlock()
	if _, err := call.Up(t.Context(), &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		far.mu.Lock()
		denied := far.denied
		far.mu.Unlock()
		if denied > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the old value was never tried")
		}
	}
	put(t, counter, "2")
	want := map[string]string{"X-Access": "a", "X-Fresh": "2", "Coder-Session-Token": goodToken}
	far.hears(t, "/api/v2/users/me", want)
	far.hears(t, "/api/v2/workspaceagents/connection", want)
	far.hears(t, control.UserPath, want)
	far.hears(t, "/derp", map[string]string{"X-Access": "a", "X-Fresh": "2", "Coder-Session-Token": ""})
	if err := stop(); err != nil {
		t.Error(err)
	}
}
