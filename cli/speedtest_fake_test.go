package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	upstream "tailscale.com/net/speedtest"
)

// scriptAgent connects to the ports of an agent that the script has started: a
// port is a socket of its number in the script's short directory.
func scriptAgent(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host != "fd60:627a:a42b::7" { // agentAddress, which is not set yet
		return nil, fmt.Errorf("a connection to %s", address)
	}
	path := filepath.Join(os.Getenv("SHORT"), port)
	if _, err := os.Stat(path); err != nil {
		return nil, syscall.ECONNREFUSED
	}
	return (&net.Dialer{}).DialContext(ctx, "unix", path)
}

// startAgentPorts serves ports 3 and 4 of an agent until the script ends: agent,
// agent strange, whose ports are of other things, agent busy, or agent empty.
func startAgentPorts(ts *testscript.TestScript, _ bool, args []string) {
	kind := ""
	if len(args) > 0 {
		kind = args[0]
	}
	var served sync.WaitGroup
	var open []net.Listener
	for port, serve := range map[string]func(net.Listener){"3": speedPort(kind), "4": func(listener net.Listener) { _ = http.Serve(listener, portsPort(kind)) }} {
		path := filepath.Join(ts.Getenv("SHORT"), port)
		ts.Check(os.RemoveAll(path))
		listener, err := net.Listen("unix", path)
		ts.Check(err)
		open = append(open, listener)
		served.Go(func() { serve(listener) })
	}
	ts.Defer(func() {
		for _, listener := range open {
			listener.Close()
		}
		served.Wait()
	})
}

func speedPort(kind string) func(net.Listener) {
	say := map[string]string{
		"strange": "SSH-2.0-OpenSSH\r\n", "busy": `{"error":"busy: 2 speed tests are running\u001b[2J"}` + "\n", "empty": "{}\n",
		"endless": string(make([]byte, 2*speedtestAnswer)),
	}[kind]
	return func(listener net.Listener) {
		if say == "" {
			_ = upstream.Serve(listener) // ends with the listener
			return
		}
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, say)
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			conn.Read(make([]byte, 100)) // the request, which a close must not overtake
			conn.Close()
		}
	}
}

func portsPort(kind string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/api/v0/listening-ports" || kind == "busy":
			http.NotFound(w, r)
		case kind == "strange":
			io.WriteString(w, "<html>")
		case kind == "empty":
			io.WriteString(w, `{"ports":[]}`)
		default:
			io.WriteString(w, `{"ports":[{"process_name":"node","network":"tcp","port":3000},{"process_name":"","network":"tcp","port":8080},{"process_name":"a\u001b[2Jb","network":"tcp","port":9000}],"more":1}`)
		}
	})
}
