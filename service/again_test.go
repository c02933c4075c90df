package service

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// upAs is a tunnel of alice's that is connected.
func upAs(t *testing.T, r *rig, call *localapi.Client) *fakeTunnel {
	t.Helper()
	login(t, call)
	if _, err := call.Up(t.Context(), &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	tunnel := r.tunnel(t)
	tunnel.set(&localv1.Status{State: localv1.State_CONNECTED, Suffix: "coder"})
	// The service takes it up a moment after it was made.
	stream, err := call.WatchStatus(t.Context(), &localv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for {
		if status, err := stream.Recv(); err != nil {
			t.Fatal(err)
		} else if status.GetState() == localv1.State_CONNECTED {
			return tunnel
		}
	}
}

func loginAs(t *testing.T, call *localapi.Client, url, token string) {
	t.Helper()
	if _, err := call.Login(t.Context(), &localv1.LoginRequest{Url: url, Token: token}); err != nil {
		t.Fatal(err)
	}
}

// Who signs in again keeps the tunnel: it gets the new token before the sign-in
// is answered, and nothing of it ends.
func TestSignInAgainKeepsTheTunnel(t *testing.T) {
	r := newRig(t)
	_, call, stop := r.start(t)
	tunnel := upAs(t, r, call)
	stream, err := call.WatchStatus(t.Context(), &localv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetState() != localv1.State_CONNECTED {
		t.Fatalf("before: %v, %v", first, err)
	}
	for _, token := range []string{nextToken, goodToken, nextToken} {
		loginAs(t, call, "https://coder.example.com", token)
		select {
		case got := <-tunnel.tokens:
			if string(got) != token {
				t.Errorf("the tunnel was given another token")
			}
		default:
			t.Error("the sign-in was answered before the tunnel had the token")
		}
	}
	select {
	case <-tunnel.ended:
		t.Error("the tunnel was ended")
	case <-r.tunnels:
		t.Error("another tunnel was made")
	default:
	}
	// The next thing that a watcher hears is what happens next, and no "down"
	// or "starting" before it.
	tunnel.set(&localv1.Status{State: localv1.State_CONNECTED, Suffix: "corp"})
	if next, err := stream.Recv(); err != nil || next.GetState() != localv1.State_CONNECTED || next.GetSuffix() != "corp" {
		t.Errorf("a watcher was told %v, %v", next, err)
	}
	if data, err := os.ReadFile(filepath.Join(r.config.StateDir, stateFile)); err != nil || !bytes.Contains(data, []byte(nextToken)) || bytes.Contains(data, []byte(goodToken)) {
		t.Errorf("on disk is not the new token alone, or %v", err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run() = %v", err)
	}
	_, _, _ = r.start(t)
	if again := r.tunnel(t); string(again.profile.Token) != nextToken {
		t.Error("after a restart the tunnel has the old token")
	}
}

// Another user, or another deployment, gets a tunnel of its own; the old one
// has gone when the sign-in is answered.
func TestSignInAsAnotherMakesTheTunnelAnew(t *testing.T) {
	for name, next := range map[string]struct{ url, token string }{
		"user":       {"https://coder.example.com", bobsToken},
		"deployment": {"https://other.example.com", nextToken},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			_, call, _ := r.start(t)
			first := upAs(t, r, call)
			loginAs(t, call, next.url, next.token)
			select {
			case <-first.ended:
			default:
				t.Error("the first tunnel still runs")
			}
			second := r.tunnel(t)
			if string(second.profile.Token) != next.token || second.profile.URL.String() != next.url {
				t.Errorf("the second tunnel is %s's at %s", second.profile.User, second.profile.URL)
			}
			if len(first.tokens)+len(second.tokens) != 0 {
				t.Error("a tunnel was given the token of another")
			}
		})
	}
}

// What a tunnel fails with after such a sign-in is tried again with the new
// token, and later requests are dealt with as ever.
func TestFailureAfterSignInAgain(t *testing.T) {
	r := newRig(t)
	_, call, _ := r.start(t)
	tunnel := upAs(t, r, call)
	loginAs(t, call, "https://coder.example.com", nextToken)
	select {
	case tunnel.failure <- os.ErrClosed:
	case <-time.After(10 * time.Second):
		t.Fatal("the tunnel does not run")
	}
	if again := r.tunnel(t); string(again.profile.Token) != nextToken {
		t.Error("the next try has the old token")
	}
	if _, err := call.Down(t.Context(), &localv1.DownRequest{}); err != nil {
		t.Error(err)
	}
}
