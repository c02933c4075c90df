package service

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// TestUnreadableStateIsNotWritten: what a start would refuse is refused when it
// is asked for, and what was kept before stays.
func TestUnreadableStateIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	access, err := parseURL("https://a.example")
	if err != nil {
		t.Fatal(err)
	}
	one := Profile{ID: uuid.NewString(), Name: "a", Owner: localapi.User{UID: 1000}, URL: access, Token: "t", User: "u"}
	if err := saveState(dir, state{profiles: []Profile{one}}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	twin := one
	twin.ID = uuid.NewString()
	if err := saveState(dir, state{profiles: []Profile{one, twin}}); err == nil {
		t.Error("a state with two profiles of one name was written")
	}
	if after, err := os.ReadFile(filepath.Join(dir, stateFile)); err != nil || string(after) != string(before) {
		t.Errorf("the state that was there is changed: %v", err)
	}
	if _, err := loadState(dir); err != nil {
		t.Error(err)
	}
}

// TestRenameWaitsForSignIn: a profile takes no name that a sign-in, while its
// token is checked, has chosen for another.
func TestRenameWaitsForSignIn(t *testing.T) {
	r := newRig(t)
	verify, checking, proceed := r.config.Verify, make(chan struct{}), make(chan struct{})
	slow := false
	r.config.Verify = func(ctx context.Context, profile Profile) (client.User, error) {
		if slow {
			close(checking)
			<-proceed
		}
		return verify(ctx, profile)
	}
	s, call, stop := r.start(t)
	signIn(t, s, aliceUID, "corp.example")
	if _, err := call.SetOperator(t.Context(), &localv1.SetOperatorRequest{Operator: &localv1.Operator{Uid: new(uint32(aliceUID))}, Allowed: true}); err != nil {
		t.Fatal(err)
	}
	slow = true
	signed, renamed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.Login(as(t, aliceUID), &localv1.LoginRequest{Url: "https://lab.example", Token: goodToken, Profile: "lab"})
		signed <- err
	}()
	<-checking
	go func() {
		_, err := s.RenameProfile(as(t, aliceUID), &localv1.RenameProfileRequest{Name: "corp.example", NewName: "lab"})
		renamed <- err
	}()
	select {
	case err := <-renamed:
		close(proceed)
		t.Fatalf("renamed while a sign-in was checked: %v", err)
	case <-time.After(200 * time.Millisecond): // long enough for one that does not wait
	}
	close(proceed)
	if err := <-signed; err != nil {
		t.Error(err)
	}
	if err := <-renamed; err == nil {
		t.Error("two profiles of one name")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r.config.Verify = verify
	r.start(t) // which reads the state
}

// TestSignInsMakeNoMoreOperatorsThanAreRead: the list has an end for sign-ins too.
func TestSignInsMakeNoMoreOperatorsThanAreRead(t *testing.T) {
	r := newRig(t)
	s, call, _ := r.start(t)
	for uid := uint32(20_000); uid < 20_000+maxOperators; uid++ {
		if _, err := call.SetOperator(t.Context(), &localv1.SetOperatorRequest{Operator: &localv1.Operator{Uid: &uid}, Allowed: true}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Login(as(t, bobUID), &localv1.LoginRequest{Url: "https://lab.example", Token: bobsToken})
	wantCode(t, err, localapi.CodeUsage)
	if _, err := loadState(r.config.StateDir); err != nil {
		t.Error(err)
	}
}
