package service

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// The users of these tests; root is who runs them, or nobody of them.
const (
	aliceUID = 4321
	bobUID   = 4322
	carolUID = 4323
)

// wantingState wants a tunnel up.
func wantingState() state {
	s := state{up: true}
	s.activate(Profile{ID: "1", Name: "h", URL: &url.URL{Scheme: "https", Host: "h"}, Token: goodToken})
	return s
}

// as is a call by that user.
func as(t *testing.T, uid uint32) context.Context {
	t.Helper()
	return localapi.WithCaller(t.Context(), localapi.Caller{UID: uid})
}

// may says whether the local API lets a call through to its handler.
func may(s *Service, uid uint32, access localapi.Access) bool {
	return s.rule().Authorize(localapi.Caller{UID: uid}, access) == nil
}

// signIn signs a user in at a deployment of that host.
func signIn(t *testing.T, s *Service, uid uint32, host string) *localv1.LoginResponse {
	t.Helper()
	answer, err := s.Login(as(t, 0), &localv1.LoginRequest{Url: "https://" + host, Token: goodToken, OwnerUid: proto.Uint32(uid)})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func up(t *testing.T, s *Service, uid uint32, in *localv1.UpRequest) error {
	t.Helper()
	_, err := s.Up(as(t, uid), in)
	return err
}

// TestHandOver walks through who has the machine's tunnel.
func TestHandOver(t *testing.T) {
	r := newRig(t)
	s, _, _ := r.start(t)
	signIn(t, s, aliceUID, "corp.example")
	if err := up(t, s, aliceUID, &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	r.tunnel(t)
	// Bob may sign in, and the tunnel stays alice's.
	signIn(t, s, bobUID, "lab.example")
	if holder, _ := s.rule().Owner(); holder.UID != aliceUID {
		t.Fatalf("signing in took the tunnel: %v has it", holder)
	}
	for name, err := range map[string]error{
		"up": up(t, s, bobUID, &localv1.UpRequest{}),
		"use": func() error {
			_, err := s.UseProfile(as(t, bobUID), &localv1.UseProfileRequest{Name: "lab.example"})
			return err
		}(),
	} {
		wantCode(t, err, localapi.CodePermission)
		var denied *localapi.Error
		if errors.As(err, &denied) && (!strings.Contains(denied.Cause, "alice has this machine's tunnel") ||
			!strings.Contains(denied.Remedy, "causeway down") || !strings.Contains(denied.Remedy, "--take-over --profile bob/lab.example")) {
			t.Errorf("%s: %+v", name, denied)
		}
	}
	err := up(t, s, bobUID, &localv1.UpRequest{TakeOver: true})
	wantCode(t, err, localapi.CodePermission)
	_, err = s.Down(as(t, bobUID), &localv1.DownRequest{})
	wantCode(t, err, localapi.CodePermission)
	if may(s, bobUID, localapi.Read) || may(s, bobUID, localapi.Steer) || !may(s, bobUID, localapi.Operate) {
		t.Error("bob reads or steers alice's tunnel, or may not operate his own")
	}
	// Alice lets go, which is the hand-over.
	if _, err := s.Down(as(t, aliceUID), &localv1.DownRequest{Reason: "going\nhome"}); err != nil {
		t.Fatal(err)
	}
	if err := up(t, s, bobUID, &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	if got := r.tunnel(t); got.profile.Owner.UID != bobUID || got.profile.Name != "lab.example" {
		t.Errorf("tunnel of %+v", got.profile)
	}
	if may(s, aliceUID, localapi.Read) {
		t.Error("alice reads bob's tunnel")
	}
	// An administrator takes it back while it is up.
	err = up(t, s, 0, &localv1.UpRequest{Profile: "alice/corp.example"})
	wantCode(t, err, localapi.CodePermission)
	if err := up(t, s, 0, &localv1.UpRequest{Profile: "alice/corp.example", TakeOver: true}); err != nil {
		t.Fatal(err)
	}
	if got := r.tunnel(t); got.profile.Owner.UID != aliceUID {
		t.Errorf("tunnel of %+v", got.profile)
	}
	// Without a profile it is taken for whoever ran sudo, not for who has it.
	if err := up(t, s, 0, &localv1.UpRequest{TakeOver: true, ForUid: proto.Uint32(bobUID)}); err != nil {
		t.Fatal(err)
	}
	if got := r.tunnel(t); got.profile.Owner.UID != bobUID {
		t.Errorf("tunnel of %+v", got.profile)
	}
	// Root itself, or somebody without a profile, has to say whose.
	for _, in := range []*localv1.UpRequest{{TakeOver: true}, {TakeOver: true, ForUid: proto.Uint32(carolUID)}} {
		err := up(t, s, 0, in)
		wantCode(t, err, localapi.CodeUsage)
		var refused *localapi.Error
		if errors.As(err, &refused) && (!strings.Contains(refused.Cause, "has no profile") ||
			!strings.Contains(refused.Remedy, "alice/corp.example") || !strings.Contains(refused.Remedy, "bob/lab.example")) {
			t.Errorf("%+v", refused)
		}
	}
	if holder, _ := s.rule().Owner(); holder.UID != bobUID {
		t.Errorf("a refusal moved the tunnel to %v", holder)
	}
	err = up(t, s, aliceUID, &localv1.UpRequest{TakeOver: true, ForUid: proto.Uint32(bobUID)})
	wantCode(t, err, localapi.CodePermission)
}

// TestStrangerSeesASummary looks at all that who has nothing to do with the
// tunnel may see of it.
func TestStrangerSeesASummary(t *testing.T) {
	r := newRig(t)
	s, _, _ := r.start(t)
	signIn(t, s, aliceUID, "corp.example")
	if err := up(t, s, aliceUID, &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	r.tunnel(t).set(fullStatus())
	s.mu.Lock()
	s.residue = &localv1.Problem{Code: "x", Cause: "secret of the host"}
	s.mu.Unlock()
	got, err := s.GetStatus(as(t, carolUID), &localv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := &localv1.Status{
		State: localv1.State_DEGRADED, WantedUp: true, Version: "v1.2.3", Owner: "alice", OwnerUid: proto.Uint32(aliceUID), View: localv1.View_SUMMARY,
	}
	for s.state.up && !proto.Equal(got, want) {
		// The service takes the tunnel up a moment after it was made.
		if got, err = s.GetStatus(as(t, carolUID), &localv1.GetStatusRequest{}); err != nil || t.Context().Err() != nil {
			t.Fatalf("got %v, %v", got, err)
		}
		if got.GetState() == localv1.State_DEGRADED && !proto.Equal(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	}
	if full, _ := s.GetStatus(as(t, aliceUID), &localv1.GetStatusRequest{}); full.GetView() != localv1.View_FULL || len(full.GetAgents()) != 1 || full.GetUrl() == "" {
		t.Errorf("the owner sees %v", full)
	}
	if unknown, _ := s.GetStatus(t.Context(), &localv1.GetStatusRequest{}); unknown.GetView() != localv1.View_SUMMARY {
		t.Errorf("a call of nobody sees %v", unknown)
	}
	for _, access := range []localapi.Access{localapi.Read, localapi.Operate, localapi.Steer, localapi.Admin} {
		if may(s, carolUID, access) {
			t.Errorf("a stranger has access %d", access)
		}
	}
}

// fullStatus has every field set, so that one that slips into a summary is seen.
func fullStatus() *localv1.Status {
	status := &localv1.Status{}
	fill(status.ProtoReflect())
	status.State = localv1.State_DEGRADED
	return status
}

// watcher is a watch's stream that gives what is sent to the test.
type watcher struct {
	localv1.DRPCLocal_WatchStatusStream
	ctx  context.Context
	sent chan *localv1.Status
}

func (w watcher) Context() context.Context { return w.ctx }

func (w watcher) Send(status *localv1.Status) error { w.sent <- status; return nil }

// TestWatchFollowsTheOwner holds that who hands the tunnel over does not go on
// reading what the next owner does with it, and gets it back with the tunnel.
func TestWatchFollowsTheOwner(t *testing.T) {
	r := newRig(t)
	s, _, _ := r.start(t)
	signIn(t, s, aliceUID, "corp.example")
	ctx, cancel := context.WithCancel(as(t, aliceUID))
	watch := watcher{ctx: ctx, sent: make(chan *localv1.Status, 64)}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.WatchStatus(&localv1.GetStatusRequest{}, watch) }()
	defer func() { cancel(); <-ended }()
	if first := <-watch.sent; first.GetView() != localv1.View_FULL || first.GetUrl() != "https://corp.example" {
		t.Errorf("first status %v", first)
	}
	signIn(t, s, bobUID, "lab.example")
	if next := <-watch.sent; next.GetView() != localv1.View_SUMMARY || next.GetUrl() != "" || next.GetOwner() != "bob" {
		t.Errorf("the former owner was told %v", next)
	}
	if _, err := s.UseProfile(as(t, aliceUID), &localv1.UseProfileRequest{Name: "corp.example"}); err != nil {
		t.Fatal(err)
	}
	if last := <-watch.sent; last.GetView() != localv1.View_FULL || last.GetOwner() != "alice" {
		t.Errorf("back with the tunnel: %v", last)
	}
}

// TestSignInForAnother: only an administrator may.
func TestSignInForAnother(t *testing.T) {
	r := newRig(t)
	s, _, _ := r.start(t)
	signIn(t, s, aliceUID, "corp.example")
	_, err := s.Login(as(t, aliceUID), &localv1.LoginRequest{Url: "https://h", Token: goodToken, OwnerUid: proto.Uint32(bobUID)})
	wantCode(t, err, localapi.CodePermission)
	if may(s, bobUID, localapi.Operate) {
		t.Error("the refused sign-in made an operator")
	}
	if _, err := s.Login(t.Context(), &localv1.LoginRequest{Url: "https://h", Token: goodToken}); err == nil {
		t.Error("nobody could sign in")
	}
}

// TestOperators: who is one may sign in, and who is no more may not.
func TestOperators(t *testing.T) {
	r := newRig(t)
	s, call, stop := r.start(t)
	if os.Getuid() != 0 {
		t.Log("the daemon's own user is the administrator here")
	}
	set := func(uid uint32, allowed bool) {
		t.Helper()
		if _, err := call.SetOperator(t.Context(), &localv1.SetOperatorRequest{Operator: &localv1.Operator{Uid: &uid}, Allowed: allowed}); err != nil {
			t.Fatal(err)
		}
	}
	set(bobUID, true)
	if !may(s, bobUID, localapi.Operate) || may(s, bobUID, localapi.Admin) {
		t.Error("an operator may not operate, or is an administrator")
	}
	if _, err := s.Login(as(t, bobUID), &localv1.LoginRequest{Url: "https://lab.example", Token: bobsToken}); err != nil {
		t.Fatal(err)
	}
	list, err := call.ListOperators(t.Context(), &localv1.ListOperatorsRequest{})
	if err != nil || len(list.GetOperators()) != 1 || list.GetOperators()[0].GetName() != "bob" || list.GetOperators()[0].GetUid() != bobUID {
		t.Errorf("operators %v, %v", list, err)
	}
	set(bobUID, false)
	if may(s, bobUID, localapi.Operate) || may(s, bobUID, localapi.Steer) || !may(s, bobUID, localapi.Read) {
		t.Error("who is no operator any more operates, or does not read what still is theirs")
	}
	if _, err := call.SetOperator(t.Context(), &localv1.SetOperatorRequest{Allowed: true}); err == nil {
		t.Error("nobody was made an operator")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s, _, _ = r.start(t)
	if may(s, bobUID, localapi.Operate) || !may(s, bobUID, localapi.Read) {
		t.Error("operators do not survive a restart")
	}
}

// TestNamesDoNotBlock: a directory that does not answer costs a moment, once.
func TestNamesDoNotBlock(t *testing.T) {
	r := newRig(t)
	answer := make(chan struct{})
	r.config.LookupUser = func(localapi.User) (string, error) { <-answer; return "alice\x1b[2J", nil }
	s, _, _ := r.start(t)
	began := time.Now()
	signIn(t, s, aliceUID, "corp.example")
	if took := time.Since(began); took > 5*nameLimit {
		t.Errorf("the sign-in waited %v for a name", took)
	}
	if got := s.status().GetOwner(); got != "uid 4321" {
		t.Errorf("owner %q while nobody says", got)
	}
	changed := s.changed.next()
	close(answer)
	<-changed
	if got := s.status().GetOwner(); got != "alice [2J" {
		t.Errorf("owner %q", got)
	}
}

// TestOldNotesAreNotForTheNextOwner: what was noted while the tunnel was
// another's stays out of the next one's sight.
func TestOldNotesAreNotForTheNextOwner(t *testing.T) {
	r := newRig(t)
	s, _, _ := r.start(t)
	signIn(t, s, aliceUID, "corp.example")
	first := s.readsSince(as(t, aliceUID))
	signIn(t, s, aliceUID, "lab.example") // still alice's
	if got := s.readsSince(as(t, aliceUID)); first.IsZero() || !got.Equal(first) {
		t.Errorf("alice reads since %v, then since %v", first, got)
	}
	handed := time.Now()
	signIn(t, s, bobUID, "lab.example")
	if got := s.readsSince(as(t, bobUID)); got.Before(handed) {
		t.Errorf("bob reads since %v, the tunnel is his since %v", got, handed)
	}
	if got := s.readsSince(as(t, 0)); !got.IsZero() {
		t.Errorf("root reads since %v", got)
	}
}
