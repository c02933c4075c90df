package signin

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSignIn goes every way on one host, one after the other.
func TestSignIn(t *testing.T) {
	w := newWorld(t)
	for _, part := range []struct {
		name string
		test func(*world)
	}{
		{"browser", browserFlow},
		{"browser denied", browserDenied},
		{"device", deviceFlow},
		{"server away meanwhile", serverAway},
		{"server forgets the code", serverForgets},
		{"cli-auth and paste", pasteFlow},
		{"token file and standard input", tokenFlows},
		{"front that wants a header", frontFlow},
		{"authority and proxy", networkFlow},
		{"another user of the machine", anotherLocalUser},
		{"interrupted", interrupted},
		{"revoked", revoked},
		{"replayed code", replayed},
		{"expiry", expiry},
		{"existing Coder deployment", coderFlow},
		{"no secret shows", nothingShows},
	} {
		t.Run(part.name, func(t *testing.T) {
			w.T = t
			part.test(w)
			if t.Failed() {
				t.Logf("server: %s\ndaemon: %s", w.server.log(), w.daemon.log())
			}
		})
	}
}

func browserFlow(w *world) {
	env, opened := w.opener()
	r := w.causeway(env, "login", serverURL)
	b := w.newBrowser()
	login := b.open(opened())
	wrong := b.submit(login, "", map[string]string{"username": "alice", "password": "a wrong password"})
	if wrong.status != 401 && wrong.status != 403 {
		w.Errorf("wrong password: HTTP %d\n%s", wrong.status, wrong.text)
	}
	consent := b.signIn(wrong, "alice")
	if !strings.Contains(consent.text, "signin-host") || !strings.Contains(consent.text, "alice") {
		w.Errorf("the page names neither the machine nor the user:\n%s", consent.text)
	}
	done := b.submit(consent, "approve", nil)
	if done.status != 200 || !strings.HasPrefix(done.at.Host, "127.0.0.1:") || done.at.Host == frontAddr || !strings.Contains(done.text, "You may close this page") {
		w.Errorf("at the end: HTTP %d at %s\n%s", done.status, done.at, done.text)
	}
	r.ends(0).says("signed in to "+serverURL+" as alice", "next: causeway up --wait")
	if token := w.keptToken(); token == "" || !w.good(token) {
		w.Errorf("the daemon keeps no good token")
	}
	w.causeway(nil, "profile", "list").ends(0).says("127.0.0.1", "alice")
	w.causeway(nil, "logout").ends(0)
}

func browserDenied(w *world) {
	env, opened := w.opener()
	r := w.causeway(env, "login", serverURL)
	b := w.newBrowser()
	done := b.submit(b.signIn(b.open(opened()), "alice"), "deny", nil)
	if !strings.Contains(done.text, "not signed in") {
		w.Errorf("at the end: %s\n%s", done.at, done.text)
	}
	r.ends(4).says("the sign-in was denied", "remedy: start again")
	if w.keptToken() != "" {
		w.Error("the daemon keeps a token")
	}
}

// approve goes by the address that the code's picture has, or types the code.
func (b *browser) device(user, target, code, button string) page {
	b.w.Helper()
	at := b.signIn(b.open(target), user)
	if code != "" {
		at = b.submit(at, "", map[string]string{"user_code": code})
	}
	if !strings.Contains(at.text, "signin-host") {
		b.w.Errorf("the page does not name the machine:\n%s", at.text)
	}
	return b.submit(at, button, nil)
}

// deviceFlow has three of them at once. Whoever approves gives an access of their
// own, and the user is told whose.
func deviceFlow(w *world) {
	other := w.causeway(nil, "login", serverURL, "--device", "--profile", "other")
	denied := w.causeway(nil, "login", serverURL, "--device", "--profile", "denied")
	r := w.causeway(nil, "login", serverURL, "--device", "--qr", "always")
	code := r.shows(`enter the code  ([A-Z0-9]{4}-[A-Z0-9]{4})`)
	if !strings.Contains(r.stderr.String(), "█") {
		w.Errorf("no picture:\n%s", r.stderr.String())
	}
	typed := r.shows(`(http://\S+/device)\n`)
	w.newBrowser().device("alice", typed, strings.ToLower(code), "approve")
	w.newBrowser().device("bob", typed, other.shows(`enter the code  (\S+)`), "approve")
	w.newBrowser().device("alice", typed+"?user_code="+denied.shows(`enter the code  (\S+)`), "", "deny")
	r.ends(0).says("signed in to " + serverURL + " as alice")
	denied.ends(4).says("the sign-in was denied")
	other.ends(0).says("signed in to "+serverURL+" as bob", "profile other")
	w.causeway(nil, "logout", "--profile", "other", "--revoke").ends(0)
	w.causeway(nil, "profile", "remove", "other").ends(0)
	w.causeway(nil, "profile", "use", "127.0.0.1").ends(0)
	w.causeway(nil, "logout", "--revoke").ends(0).says("the deployment has ended the token")
}

func serverAway(w *world) {
	r := w.causeway(nil, "login", serverURL, "--device")
	target, code := r.shows(`(http://\S+/device)\n`), r.shows(`enter the code  (\S+)`)
	w.front.away.Store(true)
	r.shows(`does not answer, and is asked again: HTTP 502`)
	w.front.away.Store(false)
	w.newBrowser().device("alice", target, code, "approve")
	r.ends(0).says("as alice")
	w.causeway(nil, "logout", "--revoke").ends(0)
}

// A server that was started anew knows no code of before.
func serverForgets(w *world) {
	r := w.causeway(nil, "login", serverURL, "--device")
	r.shows(`enter the code  (\S+)`)
	w.server.stop()
	w.startServer()
	r.ends(4).says("does not take the code", "remedy: start again")
}

// pageToken makes a token on the page /cli-auth.
func (b *browser) pageToken(user string) string {
	b.w.Helper()
	shown := b.submit(b.signIn(b.open(serverURL+"/cli-auth"), user), "", nil)
	token := anyToken.FindString(shown.text)
	if token == "" {
		b.w.Fatalf("no token on the page:\n%s", shown.text)
	}
	return token
}

func pasteFlow(w *world) {
	token := w.newBrowser().pageToken("alice")
	r := w.paste(token, "login", serverURL, "--token-file", "-")
	r.ends(0).says("signed in to " + serverURL + " as alice")
	if w.keptToken() != token {
		w.Error("the daemon keeps another token")
	}
	r = w.paste(token[:len(token)-2]+"xx", "login", serverURL, "--token-file", "-")
	r.ends(4).says("the deployment refuses the token")
	if w.keptToken() != token {
		w.Error("a refused token took the place of a good one")
	}
	w.causeway(nil, "logout").ends(0)
}

func tokenFlows(w *world) {
	file := filepath.Join(w.dir, "token")
	token := w.fileToken(file)
	w.causeway(nil, "login", serverURL, "--token-file", file).ends(0).says("as alice")
	if w.keptToken() != token {
		w.Error("the daemon keeps another token")
	}
	w.causeway(nil, "logout").ends(0)
	input, err := os.Open(file)
	if err != nil {
		w.Fatal(err)
	}
	defer input.Close()
	// Without the URL: the profile is still there.
	w.begin(nil, input, "login", "--token-file", "-").ends(0).says("signed in to " + serverURL + " as alice")
	w.causeway(nil, "logout").ends(0)
}

// fileToken makes a token as an administrator does, in a file.
func (w *world) fileToken(file string, more ...string) string {
	w.Helper()
	token := anyToken.FindString(w.admin(append([]string{"token", "create", "alice"}, more...)...))
	if token == "" {
		w.Fatal("no token was made")
	}
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		w.Fatal(err)
	}
	return token
}

func frontFlow(w *world) {
	headers := filepath.Join(w.dir, "headers")
	if err := os.WriteFile(headers, []byte("X-Front: "+frontSecret+"\n"), 0o600); err != nil {
		w.Fatal(err)
	}
	w.front.strict.Store(true)
	defer w.front.strict.Store(false)
	w.causeway(nil, "login", serverURL, "--device").ends(1).says("HTTP 403", "--header-file")
	w.front.refused.Store(0)
	r := w.causeway(nil, "login", serverURL, "--device", "--header-file", headers, "--profile", "fronted")
	b := w.newBrowser()
	b.header.Set("X-Front", frontSecret)
	b.device("alice", r.shows(`(http://\S+/device)\n`), r.shows(`enter the code  (\S+)`), "approve")
	r.ends(0).says("as alice", "profile fronted")
	if refused := w.front.refused.Load(); refused != 0 {
		w.Errorf("%d requests came without the header", refused)
	}
	w.causeway(nil, "profile", "list", "--json").ends(0).says(`"header_names":["X-Front"]`)
	w.causeway(nil, "logout", "--profile", "fronted", "--revoke").ends(0)
	w.causeway(nil, "profile", "remove", "fronted").ends(0)
	if refused := w.front.refused.Load(); refused != 0 {
		w.Errorf("%d requests of the daemon came without the header", refused)
	}
}

// Who is no operator hears so before anything is asked for.
func anotherLocalUser(w *world) {
	command := w.command("causeway", "login", serverURL, "--device")
	command.Args = append(command.Args[:7:7], append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"}, command.Args[7:]...)...)
	said, err := command.CombinedOutput()
	fmt.Fprintf(w.outputs, "%s", said)
	if command.ProcessState == nil || command.ProcessState.ExitCode() != 5 || !strings.Contains(string(said), "remedy: ") || strings.Contains(string(said), "enter the code") {
		w.Errorf("%v\n%s", err, said)
	}
}

// Ctrl-C leaves no listener and no token behind.
func interrupted(w *world) {
	env, opened := w.opener()
	r := w.causeway(env, "login", serverURL)
	asked, err := url.Parse(opened())
	if err != nil {
		w.Fatal(err)
	}
	r.command.Process.Signal(syscall.SIGINT)
	r.ends(130)
	if conn, err := w.dial(w.Context(), "tcp", strings.TrimPrefix(strings.TrimSuffix(asked.Query().Get("redirect_uri"), "/callback"), "http://")); err == nil {
		conn.Close()
		w.Error("somebody still listens")
	}
	if w.keptToken() != "" {
		w.Error("the daemon keeps a token")
	}
}

// up connects with a fresh token.
func (w *world) up(more ...string) (token string) {
	w.Helper()
	file := filepath.Join(w.dir, "token")
	token = w.fileToken(file, more...)
	w.causeway(nil, "login", serverURL, "--token-file", file).ends(0)
	w.causeway(nil, "up").ends(0)
	w.eventually("the control plane is reached", func() error {
		now, err := w.status()
		if err == nil && !now.ControlConnected {
			err = fmt.Errorf("status %+v", now)
		}
		return err
	})
	return token
}

func (w *world) saysSignedOut() {
	w.Helper()
	w.eventually("the status says that the token is no good", func() error {
		now, err := w.status()
		if err != nil {
			return err
		}
		if cause, remedy, found := now.problem("signed-out"); !found || cause == "" || !strings.Contains(remedy, "causeway login") {
			return fmt.Errorf("status %+v", now)
		}
		return nil
	})
	w.causeway(nil, "status").ends(4).says("causeway login")
}

func revoked(w *world) {
	token := w.up()
	w.admin("token", "revoke", strings.Split(token, "_")[1])
	w.saysSignedOut()
	// Signing in again is all that it takes.
	file := filepath.Join(w.dir, "token")
	w.fileToken(file)
	w.causeway(nil, "login", "--token-file", file).ends(0)
	w.eventually("the tunnel goes on with the new token", func() error {
		now, err := w.status()
		if _, _, found := now.problem("signed-out"); err == nil && (found || !now.ControlConnected) {
			err = fmt.Errorf("status %+v", now)
		}
		return err
	})
	token = w.keptToken()
	w.causeway(nil, "logout", "--revoke").ends(0).says("the deployment has ended the token")
	if w.good(token) {
		w.Error("the token is good after a logout with --revoke")
	}
}

// A code that is used twice was stolen: what came of it is good for nothing.
func replayed(w *world) {
	env, opened := w.opener()
	r := w.causeway(env, "login", serverURL, "--up")
	b := w.newBrowser()
	b.submit(b.signIn(b.open(opened()), "alice"), "approve", nil)
	r.shows(`(control plane reached|in the way)`)
	token := w.keptToken()
	var code string
	for _, target := range b.seen {
		if at, err := url.Parse(target); err == nil && at.Path == "/callback" {
			code = at.Query().Get("code")
		}
	}
	answer, err := w.newBrowser().request("POST", serverURL+"/oauth2/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"causeway"}, "code": {code}, "code_verifier": {strings.Repeat("x", 43)}, "redirect_uri": {"http://127.0.0.1:1/callback"},
	})
	if err != nil || answer.status != 400 || !strings.Contains(answer.text, "invalid_grant") {
		w.Fatalf("replay: %v, HTTP %d %s", err, answer.status, answer.text)
	}
	if w.good(token) {
		w.Error("the token is good after its code was used again")
	}
	w.saysSignedOut()
	r.command.Process.Signal(syscall.SIGINT)
	<-r.code
	w.causeway(nil, "logout").ends(0)
}

func expiry(w *world) {
	// One that ends soon is said in time.
	w.up("--lifetime", "1h")
	w.eventually("the status says when the token ends", func() error {
		now, err := w.status()
		if err != nil {
			return err
		}
		if cause, remedy, found := now.problem("token-expires"); !found || cause == "" || !strings.Contains(remedy, "causeway login") || now.TokenExpiresAt == nil {
			return fmt.Errorf("status %+v", now)
		}
		return nil
	})
	w.causeway(nil, "profile", "list").ends(0).says("for 59 min")
	w.causeway(nil, "logout").ends(0)
	// One that has ended is no good: the server ends the connection, too.
	w.up("--lifetime", "4s")
	w.saysSignedOut()
	w.causeway(nil, "logout").ends(0)
	file := filepath.Join(w.dir, "token")
	w.fileToken(file, "--lifetime", "1ms")
	w.causeway(nil, "login", serverURL, "--token-file", file).ends(4).says("the deployment refuses the token")
}

func nothingShows(w *world) {
	for name, text := range map[string]string{"a command's output": w.outputs.String(), "the daemon's log": w.daemon.log(), "the server's log": w.server.log()} {
		if found := secretIn(text); found != "" {
			w.Errorf("%s shows a secret: %s...", name, found[:6])
		}
		if len(text) < 100 {
			w.Errorf("%s is empty", name)
		}
	}
	if !w.watch.saw("causeway") || !w.watch.saw("causewayd") || !w.watch.saw("causeway-server") {
		w.Error("the watch has not seen the programs")
	}
	if leaks := w.watch.leaks(); len(leaks) > 0 {
		w.Errorf("secrets on command lines: %q", leaks)
	}
	// The watch would have noticed one.
	planted := w.host.Command(w.Context(), "sh", "-c", "sleep 5; :", "sh", "cwu_planted_secret")
	if err := planted.Start(); err != nil {
		w.Fatal(err)
	}
	w.eventually("the watch sees a planted secret", func() error {
		if len(w.watch.leaks()) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	planted.Process.Kill()
	_ = planted.Wait()
}
