package service

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

func names(t *testing.T, s *Service, uid uint32) string {
	t.Helper()
	list, err := s.ListProfiles(as(t, uid), &localv1.ListProfilesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, p := range list.GetProfiles() {
		mark := ""
		if p.GetActive() {
			mark = "*"
		}
		if !p.GetSignedIn() {
			mark += "-"
		}
		text = append(text, p.GetOwner()+"/"+p.GetName()+mark)
	}
	return strings.Join(text, " ")
}

// TestProfilesOfEachUser follows what each user sees and may do with profiles.
func TestProfilesOfEachUser(t *testing.T) {
	r := newRig(t)
	s, _, _ := r.start(t)
	signIn(t, s, aliceUID, "corp.example")
	signIn(t, s, aliceUID, "lab.example")
	signIn(t, s, bobUID, "corp.example") // the same name and deployment, of another user
	for uid, want := range map[uint32]string{
		aliceUID: "alice/corp.example alice/lab.example",
		bobUID:   "bob/corp.example*",
		carolUID: "",
		0:        "alice/corp.example alice/lab.example bob/corp.example*",
	} {
		if got := names(t, s, uid); got != want {
			t.Errorf("uid %d sees %q, want %q", uid, got, want)
		}
	}
	// Nobody reaches another user's profile by name, or by owner and name.
	for _, name := range []string{"lab.example", "alice/lab.example", "4321/lab.example"} {
		for call, err := range map[string]error{
			"use":    second(s.UseProfile(as(t, bobUID), &localv1.UseProfileRequest{Name: name})),
			"rename": second(s.RenameProfile(as(t, bobUID), &localv1.RenameProfileRequest{Name: name, NewName: "x"})),
			"remove": second(s.RemoveProfile(as(t, bobUID), &localv1.RemoveProfileRequest{Name: name})),
			"logout": second(s.Logout(as(t, bobUID), &localv1.LogoutRequest{Profile: name})),
			"up":     second(s.Up(as(t, bobUID), &localv1.UpRequest{Profile: name})),
		} {
			if wantCode(t, err, localapi.CodeNotFound); err == nil {
				t.Errorf("bob could %s %s", call, name)
			}
		}
	}
	// An administrator has to say whose where the name alone does not.
	_, err := s.UseProfile(as(t, 0), &localv1.UseProfileRequest{Name: "corp.example"})
	wantCode(t, err, localapi.CodeUsage)
	if _, err := s.UseProfile(as(t, 0), &localv1.UseProfileRequest{Name: "4321/corp.example"}); err != nil {
		t.Error(err)
	}
	if _, err := s.RenameProfile(as(t, aliceUID), &localv1.RenameProfileRequest{Name: "lab.example", NewName: "lab"}); err != nil {
		t.Error(err)
	}
	_, err = s.RenameProfile(as(t, aliceUID), &localv1.RenameProfileRequest{Name: "lab", NewName: "corp.example"})
	wantCode(t, err, localapi.CodeUsage)
	for _, bad := range []string{"", "a b", "../x", "-x", "x/y", strings.Repeat("x", maxName+1), "ä"} {
		_, err := s.RenameProfile(as(t, aliceUID), &localv1.RenameProfileRequest{Name: "lab", NewName: bad})
		wantCode(t, err, localapi.CodeUsage)
	}
	if got := names(t, s, aliceUID); got != "alice/corp.example* alice/lab" {
		t.Errorf("alice has %q", got)
	}
	if _, err := s.RemoveProfile(as(t, aliceUID), &localv1.RemoveProfileRequest{Name: "corp.example"}); err != nil {
		t.Error(err)
	}
	if got := names(t, s, 0); got != "alice/lab bob/corp.example" {
		t.Errorf("after a removal %q", got)
	}
}

func second[T any](_ T, err error) error { return err }

// TestSignInAgainKeepsTheWay: headers, authorities and the proxy stay with their
// deployment, and never go to another.
func TestSignInAgainKeepsTheWay(t *testing.T) {
	r := newRig(t)
	s, call, _ := r.start(t)
	ca := testCA(t)
	log := func(in *localv1.LoginRequest) *localv1.LoginResponse {
		t.Helper()
		in.Token, in.OwnerUid = goodToken, proto.Uint32(aliceUID)
		answer, err := call.Login(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	log(&localv1.LoginRequest{
		Url: "https://corp.example", Profile: "work", Headers: []*localv1.Header{{Name: "x-access", Value: "hunter2"}}, CaPem: ca,
		Proxy: "http://u:hunter2@proxy:3128", ConnectAt: localv1.ConnectAt_LOGIN,
	})
	if answer := log(&localv1.LoginRequest{Url: "https://corp.example/"}); answer.GetProfile() != "work" {
		t.Errorf("signing in again made profile %q", answer.GetProfile())
	}
	p := s.state.profile()
	if p.Headers.String() != "X-Access=[redacted]" || p.CA != ca || p.proxyText() != "http://u:hunter2@proxy:3128" || !p.AtLogin {
		t.Errorf("after signing in again %+v", p)
	}
	list, err := s.ListProfiles(as(t, aliceUID), &localv1.ListProfilesRequest{})
	if err != nil || len(list.GetProfiles()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if got := list.GetProfiles()[0]; strings.Contains(got.String(), "hunter2") || got.GetProxy() != "http://proxy:3128" || !got.GetOwnCa() ||
		len(got.GetHeaderNames()) != 1 || got.GetConnectAt() != localv1.ConnectAt_LOGIN {
		t.Errorf("listed %v", got)
	}
	// The same profile for another deployment.
	log(&localv1.LoginRequest{Url: "https://evil.example", Profile: "work"})
	if p := s.state.profile(); len(p.Headers) != 0 || p.CA != "" || p.Proxy != nil || p.URL.Host != "evil.example" {
		t.Errorf("another deployment got %+v", p)
	}
}

// TestSignInRefusesTheWay lists what a sign-in may not say about the way.
func TestSignInRefusesTheWay(t *testing.T) {
	r := newRig(t)
	s, call, _ := r.start(t)
	header := func(name, value string) *localv1.LoginRequest {
		return &localv1.LoginRequest{Headers: []*localv1.Header{{Name: name, Value: value}}}
	}
	tooMany := &localv1.LoginRequest{}
	for i := range maxHeaders + 1 {
		tooMany.Headers = append(tooMany.Headers, &localv1.Header{Name: fmt.Sprintf("X-%d", i), Value: "x"})
	}
	for name, in := range map[string]*localv1.LoginRequest{
		"line break":        header("X-A", "hunter2\r\nHost: evil"),
		"break in the name": header("X-A\r\nHost", "hunter2"),
		"no name":           header("", "hunter2"),
		"host":              header("host", "hunter2"),
		"token":             header("coder-session-token", "hunter2"),
		"hop by hop":        header("Connection", "hunter2"),
		"framing":           header("transfer-encoding", "hunter2"),
		"websocket":         header("Sec-WebSocket-Protocol", "hunter2"),
		"too long":          header("X-A", strings.Repeat("x", maxHeaderBytes)),
		"too many":          tooMany,
		"authority":         {CaPem: "hunter2"},
		"private key":       {CaPem: "-----BEGIN EC PRIVATE KEY-----\naHVudGVyMg==\n-----END EC PRIVATE KEY-----\n"},
		"long authority":    {CaPem: strings.Repeat("x", maxCA+1)},
		"proxy of socks":    {Proxy: "socks5://u:hunter2@h:1"},
		"proxy of nothing":  {Proxy: "hunter2"},
		"proxy with a path": {Proxy: "http://u:hunter2@h/x"},
		"name":              {Profile: "hunter2/../x"},
	} {
		t.Run(name, func(t *testing.T) {
			in.Url, in.Token = "https://corp.example", goodToken
			_, err := call.Login(t.Context(), in)
			wantCode(t, err, localapi.CodeUsage)
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	if len(s.state.profiles) != 0 {
		t.Errorf("kept %+v", s.state.profiles)
	}
}

// TestTooManyProfiles holds the limit of each user.
func TestTooManyProfiles(t *testing.T) {
	r := newRig(t)
	s, call, _ := r.start(t)
	for i := range profilesPerOwner {
		signIn(t, s, aliceUID, fmt.Sprintf("h%d.example", i))
	}
	_, err := call.Login(t.Context(), &localv1.LoginRequest{Url: "https://one-more", Token: goodToken, OwnerUid: proto.Uint32(aliceUID)})
	wantCode(t, err, localapi.CodeUsage)
	signIn(t, s, aliceUID, "h0.example") // again
	signIn(t, s, bobUID, "h0.example")
}

// TestLogout forgets the token, revokes it if asked to, and says what became of that.
func TestLogout(t *testing.T) {
	r := newRig(t)
	s, _, _ := r.start(t)
	signIn(t, s, aliceUID, "corp.example")
	if _, err := s.Logout(as(t, aliceUID), &localv1.LogoutRequest{}); err != nil || len(r.revoked) != 0 {
		t.Errorf("revoked %v unasked, %v", r.revoked, err)
	}
	if got := names(t, s, aliceUID); got != "alice/corp.example*-" {
		t.Errorf("after the sign-out %q", got)
	}
	signIn(t, s, aliceUID, "corp.example")
	r.revokeFails = fmt.Errorf("no answer\nat all")
	answer, err := s.Logout(as(t, aliceUID), &localv1.LogoutRequest{Revoke: true})
	if err != nil || answer.GetRevokeError() != "no answer; at all" || len(r.revoked) != 1 || r.revoked[0] != goodToken {
		t.Errorf("%v, %v, revoked %v", answer, err, r.revoked)
	}
	if answer, err := s.Logout(as(t, aliceUID), &localv1.LogoutRequest{Revoke: true}); err != nil || answer.GetRevokeError() != "" || len(r.revoked) != 1 {
		t.Errorf("signing out twice: %v, %v", answer, err)
	}
}

// TestNameForHost makes names of what hosts there are.
func TestNameForHost(t *testing.T) {
	r := newRig(t)
	s, _, _ := r.start(t)
	for host, want := range map[string]string{
		"coder.example.com:8443": "coder.example.com",
		"[2001:db8::1]:3000":     "2001-db8--1",
		"127.0.0.1:3000":         "127.0.0.1",
		"127.0.0.1:3001":         "127.0.0.1-2",
	} {
		if host == "127.0.0.1:3001" {
			continue // after its like
		}
		if got := signIn(t, s, aliceUID, host).GetProfile(); got != want {
			t.Errorf("%s is called %q, want %q", host, got, want)
		}
	}
	if got := signIn(t, s, aliceUID, "127.0.0.1:3001").GetProfile(); got != "127.0.0.1-2" {
		t.Errorf("the second of a host is called %q", got)
	}
	if err := checkName(strings.Repeat("x", maxName)); err != nil {
		t.Error(err)
	}
}
