package cli

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

const terminalsAnswer = `{"version":1,"terminals":[
{"id":"2b000000-0000-4000-8000-000000000002","command":"htop","started_at":"2999-01-01T00:00:00Z","viewers":2,"idle_since":null,"columns":200,"rows":50,"title":"top\u001b[2J"},
{"id":"1a000000-0000-4000-8000-000000000001","command":"","started_at":"2000-01-01T00:00:00Z","viewers":0,"idle_since":"2000-01-02T00:00:00Z","columns":80,"rows":24,"title":""}]}`

// terminalsPort is port 4 of an agent with two terminals, or none.
func terminalsPort(kind string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v0/terminals", func(w http.ResponseWriter, _ *http.Request) {
		switch kind {
		case "none":
			fmt.Fprint(w, `{"version":1,"terminals":[]}`)
		case "strange":
			fmt.Fprint(w, `<html>`)
		case "old":
			http.NotFound(w, nil)
		default:
			fmt.Fprint(w, terminalsAnswer)
		}
	})
	mux.HandleFunc("DELETE /api/v0/terminals/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != "2b000000-0000-4000-8000-000000000002" {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// startTerminals serves port 4 until the script ends: terminals, terminals none,
// terminals strange, terminals old.
func startTerminals(ts *testscript.TestScript, _ bool, args []string) {
	kind := ""
	if len(args) > 0 {
		kind = args[0]
	}
	path := filepath.Join(ts.Getenv("SHORT"), "4")
	ts.Check(os.RemoveAll(path))
	listener, err := net.Listen("unix", path)
	ts.Check(err)
	var served sync.WaitGroup
	served.Go(func() { _ = http.Serve(listener, terminalsPort(kind)) })
	ts.Defer(func() {
		listener.Close()
		served.Wait()
	})
}
