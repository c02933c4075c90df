package terminal

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/store"
)

// Config is what the pages are made of. All fields are needed.
type Config struct {
	Logger *slog.Logger
	Store  *store.Store
	// Session finds the browser session of a request; without one the error is a
	// store.ErrNotFound.
	Session func(*http.Request) (store.Proof, string, error)
	// Status of an agent: connected, connecting, disconnected or unknown.
	Status func(store.Agent) string
	// AccessURL is how people reach this server, without a slash at its end.
	AccessURL string
	// HostnameSuffix of the names in the tunnel.
	HostnameSuffix string
}

// Server serves the pages. It holds nothing that needs closing.
type Server struct{ config Config }

// New makes the server.
func New(config Config) *Server { return &Server{config} }

var pages = template.Must(template.New("").ParseFS(files, "pages/*.html"))

// pagePath is /@USER/WORKSPACE[.AGENT], with /terminal or /terminal/state. Names
// are DNS labels; what is none is no page.
var pagePath = regexp.MustCompile(`^/@([A-Za-z0-9_-]{1,63})/([A-Za-z0-9_-]{1,63})(?:\.([A-Za-z0-9_-]{1,63}))?(/terminal(?:/state)?)?/?$`)

// appPath is where other deployments have apps, and command lines look for them.
var appPath = regexp.MustCompile(`^/@[^/]+/[^/]+/apps/`)

// Handler serves the pages, and leaves everything else to rest.
func (s *Server) Handler(rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/terminal-assets/"):
			serveAsset(w, r)
		case strings.HasPrefix(r.URL.Path, "/@"):
			s.serve(w, r)
		default:
			rest.ServeHTTP(w, r)
		}
	})
}

// visit is one request for a page.
type visit struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	nonce string
	user  store.User
	json  bool // a page asks, and not a person

	workspace store.Workspace
	agents    []store.Agent
	wanted    string // agent of the path, "" for none
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	v := &visit{s: s, w: w, r: r, nonce: rand.Text()}
	v.secureHeaders()
	parts := pagePath.FindStringSubmatch(r.URL.Path)
	if parts != nil {
		v.json = parts[4] == "/terminal/state"
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		v.fail(http.StatusMethodNotAllowed, "Nothing was done", "These pages only show.")
		return
	}
	proof, _, err := s.config.Session(r)
	if err == nil {
		v.user = proof.User
		if parts == nil {
			err = store.ErrNotFound
		} else {
			err = v.find(parts[1], parts[2], parts[3])
		}
		if appPath.MatchString(r.URL.Path) {
			v.fail(http.StatusNotFound, "This server has no pages of apps", "Reach the app through the tunnel, by its port on the agent's name: http://AGENT.WORKSPACE.me."+s.config.HostnameSuffix+":PORT")
			return
		}
		if errors.Is(err, store.ErrNotFound) {
			v.fail(http.StatusNotFound, "There is no such workspace", "It does not exist, or it is not yours. You are signed in as "+v.user.Name+".")
			return
		}
	} else if errors.Is(err, store.ErrNotFound) {
		v.toLogin()
		return
	}
	switch {
	case err != nil:
		s.config.Logger.Error("page of a workspace failed", slog.Any("error", err))
		v.fail(http.StatusServiceUnavailable, "The server is in trouble", "It could not read its database. Try again in a moment; its log has the cause.")
	case parts[4] == "":
		v.showWorkspace("")
	default:
		v.terminal(parts[4] == "/terminal/state")
	}
}

// find reads what the path names, if it is the user's own.
func (v *visit) find(user, workspace, agent string) (err error) {
	if !strings.EqualFold(user, v.user.Name) && user != "me" {
		return store.ErrNotFound
	}
	ctx := v.r.Context()
	if v.workspace, err = v.s.config.Store.WorkspaceByName(ctx, v.user.ID, workspace); err != nil {
		return err
	}
	v.wanted = agent
	v.agents, err = v.s.config.Store.AgentsIn(ctx, v.workspace.ID)
	return err
}

// terminal shows the terminal of the agent that is named, or of the only one. The
// id of the session stands in the address, so that the same page, opened again,
// comes back to the same session.
func (v *visit) terminal(state bool) {
	agent, found := v.agent()
	switch {
	case !found && v.json:
		v.fail(http.StatusNotFound, "There is no such agent", "")
		return
	case !found:
		v.showWorkspace("Choose an agent for the terminal: this workspace has none of that name, or more than one.")
		return
	case state:
		v.writeJSON(http.StatusOK, map[string]string{"status": v.s.config.Status(agent)})
		return
	}
	session, err := uuid.Parse(v.r.URL.Query().Get("reconnect"))
	path := v.path() + "." + agent.Name + "/terminal"
	here := func(id uuid.UUID) string { return path + "?" + url.Values{"reconnect": {id.String()}}.Encode() }
	if err != nil || session == uuid.Nil {
		v.redirect(here(uuid.New()))
		return
	}
	name := agent.Name + "." + v.workspace.Name
	v.render(http.StatusOK, "terminal.html", "Terminal: "+name, map[string]string{
		"Agent": agent.Name, "Workspace": v.workspace.Name, "Host": v.host(agent), "Back": v.path(), "Again": path, "State": path + "/state",
		"Login":  "/login?" + url.Values{"next": {here(session)}}.Encode(),
		"Socket": "/api/v2/workspaceagents/" + agent.ID.String() + "/pty?" + url.Values{"reconnect": {session.String()}}.Encode(),
	})
}

func (v *visit) agent() (store.Agent, bool) {
	if v.wanted == "" && len(v.agents) == 1 {
		return v.agents[0], true
	}
	for _, agent := range v.agents {
		if strings.EqualFold(agent.Name, v.wanted) {
			return agent, true
		}
	}
	return store.Agent{}, false
}

// agentView is an agent on the page.
type agentView struct{ Name, Status, Terminal, Host string }

// statusWords are what the page says, with the remedy where there is one.
var statusWords = map[string]string{
	"connected":    "Connected.",
	"connecting":   "Has never been connected. Start causeway-agent on the workspace's machine with this agent's token.",
	"disconnected": "Not connected. Start the workspace, or see on its machine whether causeway-agent runs and reaches this server.",
	"unknown":      "Not known yet: this server has just started. Open the page again in half a minute.",
}

func (v *visit) showWorkspace(problem string) {
	own := struct {
		Problem, Path string
		Agents        []agentView
	}{problem, v.user.Name + "/" + v.workspace.Name, nil}
	for _, agent := range v.agents {
		status := v.s.config.Status(agent)
		view := agentView{Name: agent.Name, Status: statusWords[status], Host: v.host(agent)}
		if status == "connected" {
			view.Terminal = v.path() + "." + agent.Name + "/terminal"
		}
		own.Agents = append(own.Agents, view)
	}
	status := http.StatusOK
	if problem != "" {
		status = http.StatusNotFound
	}
	v.render(status, "workspace.html", v.workspace.Name, own)
}

func (v *visit) path() string { return "/@" + v.user.Name + "/" + v.workspace.Name }

func (v *visit) host(agent store.Agent) string {
	return strings.ToLower(agent.Name + "." + v.workspace.Name + ".me." + v.s.config.HostnameSuffix)
}

// toLogin leads to the sign-in page, and from there back to this one.
func (v *visit) toLogin() {
	if v.json {
		v.fail(http.StatusUnauthorized, "You are signed out", "")
		return
	}
	next := v.r.URL.Path
	if query := v.r.URL.RawQuery; query != "" {
		next += "?" + query
	}
	v.redirect("/login?" + url.Values{"next": {next}}.Encode())
}

func (v *visit) redirect(target string) {
	v.w.Header().Set("Location", target)
	v.w.WriteHeader(http.StatusSeeOther)
}

// secureHeaders forbid all that the pages do not need.
func (v *visit) secureHeaders() {
	head := v.w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"+v.nonce+"'; style-src-attr 'unsafe-inline'; "+
		"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	head.Set("X-Frame-Options", "DENY")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")
}

// render sends a page. It is made before anything is sent, so that no page ends
// in its middle.
func (v *visit) render(status int, name, title string, own any) {
	var body bytes.Buffer
	err := pages.ExecuteTemplate(&body, name, map[string]any{
		"Title": title, "Assets": assetsPath, "Nonce": v.nonce, "URL": v.s.config.AccessURL, "Own": own,
	})
	if err != nil {
		v.s.config.Logger.Error("page cannot be shown", slog.String("page", name), slog.Any("error", err))
		http.Error(v.w, "The page cannot be shown. The server's log has the cause.", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	// A failure here is the connection's, and there is nobody left to tell.
	_, _ = v.w.Write(body.Bytes())
}

func (v *visit) fail(status int, title, text string) {
	if v.json {
		v.writeJSON(status, map[string]string{"message": title})
		return
	}
	v.render(status, "notice.html", title, text)
}

func (v *visit) writeJSON(status int, body any) {
	v.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	v.w.WriteHeader(status)
	_ = json.NewEncoder(v.w).Encode(body) // as above
}
