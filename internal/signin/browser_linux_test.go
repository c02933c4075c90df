package signin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/sys/unix"
)

// inNetwork runs a function in the network of the host: sockets that it opens
// stay there. The thread is brought back and does not end, because programs
// would be killed with it that it started for others (Pdeathsig).
func (w *world) inNetwork(do func() error) error {
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			own, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer own.Close()
			theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", w.host.PID()))
			if err != nil {
				return err
			}
			defer theirs.Close()
			runtime.LockOSThread()
			if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			err = do()
			if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
				return errors.Join(err, back)
			}
			runtime.UnlockOSThread()
			return err
		}()
	}()
	return <-done
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == tlsName {
		address = tlsAddr
	}
	var conn net.Conn
	err := w.inNetwork(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// serve listens on the host until the test ends.
func (w *world) serve(address string, handler http.Handler) {
	w.Helper()
	var listener net.Listener
	err := w.inNetwork(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	w.Cleanup(func() {
		server.Close()
		served.Wait()
	})
}

// front stands before the server, as a company's proxy would.
type front struct {
	strict, away atomic.Bool
	refused      atomic.Int32
}

func startFront(w *world) *front {
	f := &front{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: serverAddr})
	transport := &http.Transport{DialContext: w.dial}
	proxy.Transport = transport
	w.Cleanup(transport.CloseIdleConnections)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	w.serve(frontAddr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case f.away.Load():
			http.Error(w, "down for maintenance", http.StatusBadGateway)
		case f.strict.Load() && r.Header.Get("X-Front") != frontSecret:
			f.refused.Add(1)
			http.Error(w, "who are you?", http.StatusForbidden)
		default:
			r.Header.Del("X-Front")
			proxy.ServeHTTP(w, r)
		}
	}))
	return f
}

// browser reads pages and fills in forms.
type browser struct {
	w      *world
	client *http.Client
	header http.Header
	seen   []string // addresses that it was led to
}

type page struct {
	status int
	at     *url.URL
	text   string
}

func (w *world) newBrowser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.Fatal(err)
	}
	b := &browser{w: w, header: http.Header{}}
	transport := &http.Transport{DialContext: w.dial, DisableKeepAlives: true}
	b.client = &http.Client{Jar: jar, Transport: transport, Timeout: 10 * time.Second, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		b.seen = append(b.seen, next.URL.String())
		return nil
	}}
	return b
}

func (b *browser) request(method, target string, form url.Values) (page, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	request, err := http.NewRequestWithContext(b.w.Context(), method, target, body)
	if err != nil {
		return page{}, err
	}
	request.Header = b.header.Clone()
	if request.Header.Get("Coder-Session-Token") == "" {
		request.Header.Set("Accept", "text/html")
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", request.URL.Scheme+"://"+request.URL.Host)
		request.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	response, err := b.client.Do(request)
	if err != nil {
		return page{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return page{}, err
	}
	return page{response.StatusCode, response.Request.URL, string(text)}, nil
}

func (b *browser) open(target string) page {
	b.w.Helper()
	got, err := b.request("GET", target, nil)
	if err != nil {
		b.w.Fatal(err)
	}
	return got
}

// submit fills in the page's form, presses the button of that value if there is
// one to choose, and gives the page that follows.
func (b *browser) submit(on page, button string, fields map[string]string) page {
	b.w.Helper()
	action, form, err := readForm(on.text, button)
	if err != nil {
		b.w.Fatalf("%s: %v\n%s", on.at, err, on.text)
	}
	for name, value := range fields {
		if !form.Has(name) {
			b.w.Fatalf("%s: the form has no field %s\n%s", on.at, name, on.text)
		}
		form.Set(name, value)
	}
	target, err := on.at.Parse(action)
	if err != nil {
		b.w.Fatal(err)
	}
	got, err := b.request("POST", target.String(), form)
	if err != nil {
		b.w.Fatal(err)
	}
	return got
}

// readForm is the first form of the page's main part.
func readForm(text, button string) (action string, fields url.Values, err error) {
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return "", nil, err
	}
	main := find(root, "main")
	if main == nil {
		return "", nil, errors.New("no main part")
	}
	form := find(main, "form")
	if form == nil || attribute(form, "method") != "post" {
		return "", nil, errors.New("no form")
	}
	fields = url.Values{}
	pressed := button == ""
	for node := range form.Descendants() {
		switch node.Data {
		case "input":
			fields.Set(attribute(node, "name"), attribute(node, "value"))
		case "button":
			if button != "" && attribute(node, "value") == button {
				fields.Set(attribute(node, "name"), button)
				pressed = true
			}
		}
	}
	if !pressed {
		return "", nil, fmt.Errorf("no button %q", button)
	}
	return attribute(form, "action"), fields, nil
}

func find(root *html.Node, name string) *html.Node {
	for node := range root.Descendants() {
		if node.Type == html.ElementNode && node.Data == name {
			return node
		}
	}
	return nil
}

func attribute(node *html.Node, name string) string {
	for _, one := range node.Attr {
		if one.Key == name {
			return one.Val
		}
	}
	return ""
}

// signIn fills in the form of the sign-in page.
func (b *browser) signIn(on page, user string) page {
	b.w.Helper()
	if on.at.Path != "/login" {
		b.w.Fatalf("at %s, not at the sign-in page", on.at)
	}
	return b.submit(on, "", map[string]string{"username": user, "password": password})
}

// watch looks for secrets in the command lines of all processes.
type watch struct {
	network string // that of the host: only its processes count
	mu      sync.Mutex
	found   []string
	looked  map[string]bool
}

func startWatch(t *testing.T, pid int) *watch {
	network, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{network: network, looked: map[string]bool{}}
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				w.look()
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		watching.Wait()
	})
	return w
}

func (w *watch) look() {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, entry := range entries {
		if name := entry.Name(); name[0] < '0' || name[0] > '9' {
			continue
		}
		if network, err := os.Readlink("/proc/" + entry.Name() + "/ns/net"); err != nil || network != w.network {
			continue
		}
		line, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err != nil {
			continue // it has ended
		}
		words := strings.Split(string(line), "\x00")
		w.mu.Lock()
		w.looked[filepath.Base(words[0])] = true
		if secretIn(string(line)) != "" {
			w.found = append(w.found, strings.Join(words, " "))
		}
		w.mu.Unlock()
	}
}

// saw says whether processes of that program were looked at.
func (w *watch) saw(program string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.looked[program]
}

func (w *watch) leaks() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.found...)
}

// secretIn is the first secret of a text, or "".
func secretIn(text string) string {
	for _, secret := range []string{password, frontSecret, coderToken} {
		if strings.Contains(text, secret) {
			return secret
		}
	}
	return anyToken.FindString(text)
}
