package signin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Only the proxy knows where this name leads.
	tlsName   = "cw.internal:7443"
	tlsAddr   = "127.0.0.1:7443"
	proxyAddr = "127.0.0.1:7084"
)

// authority writes a certificate for the name that signs itself, and its key.
func (w *world) authority() (certificate, key string) {
	w.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"cw.internal"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	data, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		w.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		w.Fatal(err)
	}
	certificate, key = filepath.Join(w.dir, "ca.pem"), filepath.Join(w.dir, "key.pem")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: data}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	return certificate, key
}

// connectProxy leads CONNECT to the TLS server, and counts.
func (w *world) connectProxy() *atomic.Int32 {
	w.Helper()
	used := &atomic.Int32{}
	var pipes sync.WaitGroup
	w.Cleanup(pipes.Wait)
	w.serve(proxyAddr, http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != tlsName {
			http.Error(answer, "no", http.StatusForbidden)
			return
		}
		used.Add(1)
		upstream, err := w.dial(r.Context(), "tcp", tlsAddr)
		if err != nil {
			http.Error(answer, "no", http.StatusBadGateway)
			return
		}
		client, _, err := http.NewResponseController(answer).Hijack()
		if err != nil {
			upstream.Close()
			return
		}
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		both := func(to, from net.Conn) {
			_, _ = io.Copy(to, from) // ends with either side
			to.Close()
			from.Close()
		}
		pipes.Go(func() { both(upstream, client) })
		pipes.Go(func() { both(client, upstream) })
	}))
	return used
}

// networkFlow signs in where the deployment has an authority of its own and is
// behind a proxy: both count for the requests of the flow and of the daemon.
func networkFlow(w *world) {
	certificate, key := w.authority()
	used := w.connectProxy()
	const url, data = "https://" + tlsName, "/var/lib/tls-server"
	create := w.command("causeway-server", "--data-dir", data, "user", "create", "alice", "--create", "--password-stdin")
	create.Stdin = strings.NewReader(password + "\n")
	if err := create.Run(); err != nil {
		w.Fatal(err)
	}
	if _, err := w.start("tls server", w.command("causeway-server", "--data-dir", data, "run", "--listen", tlsAddr, "--access-url", url,
		"--tls-cert", certificate, "--tls-key", key, "--stun-listen", "off")); err != nil {
		w.Fatal(err)
	}
	b := w.newBrowser()
	transport := b.client.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	authority, err := os.ReadFile(certificate)
	if err != nil || !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(authority) {
		w.Fatal("read the certificate", err)
	}
	w.eventually("the server with TLS is ready", func() error { _, err := b.request("GET", url+"/readyz", nil); return err })

	proxy := "http://" + proxyAddr
	w.causeway(nil, "login", url, "--device", "--proxy", proxy).ends(1).says("certificate of the control plane does not verify", "--ca-file")
	w.causeway(nil, "login", url, "--device", "--ca-file", certificate).ends(1).says("remedy: ")
	r := w.causeway(nil, "login", url, "--device", "--ca-file", certificate, "--proxy", proxy, "--profile", "inside")
	b.device("alice", r.shows(`(https://\S+/device)\n`), r.shows(`enter the code  (\S+)`), "approve")
	r.ends(0).says("signed in to "+url+" as alice", "profile inside")
	w.causeway(nil, "profile", "list", "--json").ends(0).says(`"proxy":"`+proxy+`"`, `"own_ca":true`)
	before := used.Load()
	// The daemon keeps the way: it signs out by it.
	w.causeway(nil, "logout", "--profile", "inside", "--revoke").ends(0).says("the deployment has ended the token")
	if before == 0 || used.Load() == before {
		w.Errorf("the proxy was used %d times by the sign-in and %d times in all", before, used.Load())
	}
	w.causeway(nil, "profile", "remove", "inside").ends(0)
}
