package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *Store {
	t.Helper()
	opened, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

// sample makes one user with one workspace and one agent.
func sample(t *testing.T, s *Store, name string) (User, Workspace, Agent) {
	t.Helper()
	user, err := s.CreateUser(t.Context(), name, name+"@example.com")
	if err != nil {
		t.Fatal(err)
	}
	workspace, err := s.CreateWorkspace(t.Context(), user, "myws")
	if err != nil {
		t.Fatal(err)
	}
	agent, err := s.CreateAgent(t.Context(), workspace, "main")
	if err != nil {
		t.Fatal(err)
	}
	return user, workspace, agent
}

func TestCheckName(t *testing.T) {
	tests := []struct {
		kind, name, problem string
	}{
		{KindUser, "alice", ""},
		{KindUser, "a", ""},
		{KindUser, "7", ""},
		{KindAgent, "main_agent-1", ""},
		{KindWorkspace, "main-workspace", ""},
		{KindWorkspace, "a__b", ""},
		{KindWorkspace, "Upper-Case", ""},
		{KindWorkspace, "me", ""},
		{KindAgent, "me", ""},
		{KindWorkspace, strings.Repeat("a", 63), ""},
		{KindUser, "", "empty"},
		{KindWorkspace, strings.Repeat("a", 64), "64 characters"},
		{KindWorkspace, "a--b", "double hyphen at position 2"},
		{KindWorkspace, "-a", `starts with "-"`},
		{KindWorkspace, "a-", `ends with "-"`},
		{KindAgent, "_a", `starts with "_"`},
		{KindAgent, "a_", `ends with "_"`},
		{KindAgent, "-", `starts with "-"`},
		{KindAgent, "a.b", `'.' at position 2`},
		{KindAgent, "a b", `' ' at position 2`},
		{KindAgent, "a/b", `'/' at position 2`},
		{KindAgent, "naïve", `'ï' at position 3`},
		{KindAgent, "a\x00b", `position 2`},
		{KindAgent, "a\nb", `position 2`},
		{KindUser, "me", "stands for the signed-in user"},
		{KindUser, "Me", "stands for the signed-in user"},
		{KindUser, "ME", "stands for the signed-in user"},
	}
	for _, test := range tests {
		t.Run(test.kind+"/"+test.name, func(t *testing.T) {
			err := CheckName(test.kind, test.name)
			var name *NameError
			switch {
			case test.problem == "" && err == nil:
			case test.problem == "":
				t.Errorf("refused: %v", err)
			case !errors.As(err, &name):
				t.Errorf("got %v, want a *NameError", err)
			case !strings.Contains(name.Problem, test.problem) || !strings.Contains(err.Error(), test.kind):
				t.Errorf("got %q, want it to name the kind and hold %q", err, test.problem)
			}
		})
	}
}

func TestNamesAreUniqueWithoutCase(t *testing.T) {
	s := open(t, t.TempDir())
	alice, workspace, _ := sample(t, s, "alice")
	bob, _, _ := sample(t, s, "bob") // the same names under another owner are fine
	tests := map[string]func() error{
		"user":      func() error { _, err := s.CreateUser(t.Context(), "ALICE", ""); return err },
		"workspace": func() error { _, err := s.CreateWorkspace(t.Context(), alice, "MyWS"); return err },
		"agent":     func() error { _, err := s.CreateAgent(t.Context(), workspace, "MAIN"); return err },
	}
	for name, create := range tests {
		if err := create(); !errors.Is(err, ErrExists) {
			t.Errorf("%s: got %v, want ErrExists", name, err)
		}
	}
	found, err := s.WorkspaceByName(t.Context(), bob.ID, "MYWS")
	if err != nil || found.OwnerID != bob.ID || found.Name != "myws" {
		t.Errorf("found %+v, %v", found, err)
	}
}

func TestFirstUser(t *testing.T) {
	s := open(t, t.TempDir())
	var wins int
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			user, err := s.CreateFirstUser(t.Context(), fmt.Sprintf("user%d", i), "")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && user.Admin:
				wins++
			case !errors.Is(err, ErrExists):
				t.Errorf("got %+v, %v", user, err)
			}
		})
	}
	all.Wait()
	if wins != 1 {
		t.Errorf("%d first users, want 1", wins)
	}
	second, err := s.CreateUser(t.Context(), "second", "")
	if err != nil || second.Admin {
		t.Errorf("second user %+v, %v", second, err)
	}
}

func TestTokens(t *testing.T) {
	s := open(t, t.TempDir())
	user, _, agent := sample(t, s, "alice")
	good, secret, err := s.CreateUserToken(t.Context(), user.ID, "laptop", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, expired, _ := s.CreateUserToken(t.Context(), user.ID, "", time.Millisecond)
	revokedToken, revoked, _ := s.CreateUserToken(t.Context(), user.ID, "", 0)
	if err := s.RevokeToken(t.Context(), revokedToken.ID); err != nil {
		t.Fatal(err)
	}
	_, agentSecret, err := s.CreateAgentToken(t.Context(), agent.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond) // the life of the expired one, of which the database knows the milliseconds

	flipped := []byte(secret.Reveal())
	if flipped[len(flipped)-2]++; flipped[len(flipped)-2] > 'y' {
		flipped[len(flipped)-2] = 'a'
	}
	tests := []struct {
		name, token string
		user, agent error
	}{
		{"good", secret.Reveal(), nil, ErrUserToken},
		{"expired", expired.Reveal(), ErrTokenExpired, ErrUserToken},
		{"revoked", revoked.Reveal(), ErrTokenRevoked, ErrUserToken},
		{"agent", agentSecret.Reveal(), ErrAgentToken, nil},
		{"wrong secret", string(flipped), ErrTokenUnknown, ErrUserToken},
		{"unknown id", "cwu_" + strings.Repeat("a", 16) + "_" + strings.Repeat("a", 52), ErrTokenUnknown, ErrUserToken},
		{"expired, wrong secret", expired.Reveal()[:len(expired.Reveal())-52] + strings.Repeat("a", 52), ErrTokenUnknown, ErrUserToken},
		{"empty", "", ErrTokenUnknown, ErrTokenUnknown},
		{"prefix", "cwu_", ErrTokenUnknown, ErrUserToken},
		{"short", secret.Reveal()[:20], ErrTokenUnknown, ErrUserToken},
		{"longer", secret.Reveal() + "a", ErrTokenUnknown, ErrUserToken},
		{"injection", "cwu_' OR 1=1 --_" + strings.Repeat("a", 52), ErrTokenUnknown, ErrUserToken},
		{"huge", strings.Repeat("x", 1<<20), ErrTokenUnknown, ErrTokenUnknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			gotUser, token, err := s.AuthenticateUser(t.Context(), test.token)
			if !errors.Is(err, test.user) || (err == nil) != (test.user == nil) {
				t.Errorf("as user: got %v, want %v", err, test.user)
			}
			if err == nil && (gotUser != user || token != good) {
				t.Errorf("as user: got %+v %+v", gotUser, token)
			}
			gotAgent, _, err := s.AuthenticateAgent(t.Context(), test.token)
			if !errors.Is(err, test.agent) || (err == nil) != (test.agent == nil) {
				t.Errorf("as agent: got %v, want %v", err, test.agent)
			}
			if err == nil && gotAgent != agent {
				t.Errorf("as agent: got %+v, want %+v", gotAgent, agent)
			}
		})
	}
	if err := s.RevokeToken(t.Context(), revokedToken.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("second revocation: %v", err)
	}
	if err := s.DeleteToken(t.Context(), revokedToken.ID); err != nil {
		t.Error(err)
	}
	if err := s.DeleteToken(t.Context(), revokedToken.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted again: %v", err)
	}
	live, err := s.LiveTokens(t.Context())
	if _, found := live[good.ID]; err != nil || !found || len(live) != 3 {
		t.Errorf("live tokens %v, %v", live, err)
	}
}

func TestSecretsAreNotStoredOrPrinted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	user, _, _ := sample(t, s, "alice")
	_, secret, err := s.CreateUserToken(t.Context(), user.ID, "laptop", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	clear := secret.Reveal()[len(secret.Reveal())-52:]
	if !strings.Contains(string(content), "laptop") || strings.Contains(string(content), clear) {
		t.Error("the file must hold the token's name and not its secret")
	}
	text, _ := secret.MarshalText()
	for _, printed := range []string{fmt.Sprint(secret), fmt.Sprintf("%v %s %+v %#v", secret, secret, secret, secret), secret.LogValue().String(), string(text)} {
		if strings.Contains(printed, clear) {
			t.Errorf("printed %q", printed)
		}
	}
}

func TestDeleteCascades(t *testing.T) {
	s := open(t, t.TempDir())
	alice, workspace, agent := sample(t, s, "alice")
	bob, _, bobsAgent := sample(t, s, "bob")
	_, aliceToken, _ := s.CreateUserToken(t.Context(), alice.ID, "", 0)
	_, agentToken, _ := s.CreateAgentToken(t.Context(), agent.ID, 0)
	if owns, err := s.OwnsAgent(t.Context(), alice.ID, agent.ID); err != nil || !owns {
		t.Fatalf("own agent: %v, %v", owns, err)
	}
	if owns, err := s.OwnsAgent(t.Context(), alice.ID, bobsAgent.ID); err != nil || owns {
		t.Fatalf("another's agent: %v, %v", owns, err)
	}
	if err := s.DeleteUser(t.Context(), alice.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.AuthenticateUser(t.Context(), aliceToken.Reveal()); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("user's token: %v", err)
	}
	if _, _, err := s.AuthenticateAgent(t.Context(), agentToken.Reveal()); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("agent's token: %v", err)
	}
	if _, err := s.Workspace(t.Context(), workspace.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("workspace: %v", err)
	}
	if owns, err := s.OwnsAgent(t.Context(), alice.ID, agent.ID); err != nil || owns {
		t.Errorf("deleted agent: %v, %v", owns, err)
	}
	agents, err := s.Agents(t.Context())
	if err != nil || len(agents) != 1 || agents[0].OwnerID != bob.ID {
		t.Errorf("agents left: %+v, %v", agents, err)
	}
	for name, err := range map[string]error{
		"user": s.DeleteUser(t.Context(), alice.ID), "workspace": s.DeleteWorkspace(t.Context(), uuid.New()), "agent": s.DeleteAgent(t.Context(), agent.ID),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("delete missing %s: %v", name, err)
		}
	}
}

func TestMarkAgentConnectedWritesOnce(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	if err := s.MarkAgentConnected(t.Context(), agent); err != nil {
		t.Fatal(err)
	}
	first, err := s.Agent(t.Context(), agent.ID)
	if err != nil || first.FirstConnectedAt.IsZero() {
		t.Fatalf("agent %+v, %v", first, err)
	}
	if err := s.MarkAgentConnected(t.Context(), agent); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Agent(t.Context(), agent.ID); err != nil || again != first {
		t.Errorf("agent %+v, %v, want %+v", again, err, first)
	}
}

func TestServerSecretIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, second := open(t, dir), open(t, dir)
	one, err := first.ServerSecret(t.Context(), SecretRelayKey, 32)
	if err != nil || len(one) != 32 {
		t.Fatalf("%d bytes, %v", len(one), err)
	}
	two, err := second.ServerSecret(t.Context(), SecretRelayKey, 32)
	if err != nil || string(one) != string(two) {
		t.Errorf("another secret, %v", err)
	}
	if _, err := second.ServerSecret(t.Context(), SecretRelayKey, 64); !errors.Is(err, ErrCorrupt) {
		t.Errorf("other size: %v", err)
	}
}

// TestConcurrentProcesses uses two handles of one file, as the server and a
// subcommand do.
func TestConcurrentProcesses(t *testing.T) {
	dir := t.TempDir()
	handles := []*Store{open(t, dir), open(t, dir)}
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			s := handles[worker%2]
			for i := range 20 {
				user, err := s.CreateUser(context.Background(), fmt.Sprintf("user-%d-%d", worker, i), "")
				if err != nil {
					t.Error(err)
					return
				}
				if _, _, err := s.CreateUserToken(context.Background(), user.ID, "", 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if count, err := handles[0].UserCount(t.Context()); err != nil || count != 160 {
		t.Errorf("%d users, %v", count, err)
	}
}

func TestWatchSeesOtherProcesses(t *testing.T) {
	dir := t.TempDir()
	server, command := open(t, dir), open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	changes := make(chan struct{}, 100)
	ended := make(chan error)
	go func() {
		ended <- server.Watch(ctx, 10*time.Millisecond, func() { changes <- struct{}{} })
	}()
	expect := func(what string) {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(5 * time.Second):
			t.Fatalf("not noticed: %s", what)
		}
	}
	// The first look may come after the first change, so this is tried until it is seen.
	for i := 0; len(changes) == 0 && i < 200; i++ {
		if err := command.SetSetting(t.Context(), "try", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	expect("first change")
	for len(changes) > 0 {
		<-changes
	}
	if _, err := command.CreateUser(t.Context(), "alice", ""); err != nil {
		t.Fatal(err)
	}
	expect("user of another process")
	if _, err := server.CreateUser(t.Context(), "bob", ""); err != nil {
		t.Fatal(err)
	}
	expect("user of this process")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
