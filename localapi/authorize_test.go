package localapi

import (
	"errors"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/proto/localv1"
)

func TestRule(t *testing.T) {
	const daemon, owner, other, stranger, dismissed = 990, 1000, 1001, 1002, 1003
	operator := func(user User) bool { return user.UID == owner || user.UID == other }
	held := func(by uint32) Rule {
		return Rule{Daemon: User{UID: daemon}, Owner: func() (User, bool) { return User{UID: by}, true }, Operator: operator}
	}
	free := Rule{Daemon: User{UID: daemon}, Owner: func() (User, bool) { return User{}, false }, Operator: operator}
	// What each may, from Public to Admin.
	const everything, nothing, has, lost, operates = "PROSA", "P", "PROS", "PR", "PO"
	for _, test := range []struct {
		name string
		rule Rule
		uid  uint32
		want string
	}{
		{"root", held(owner), 0, everything},
		{"root of a free tunnel", free, 0, everything},
		{"the daemon's own user", held(owner), daemon, everything},
		{"owner", held(owner), owner, has},
		{"another operator", held(owner), other, operates},
		{"an operator of a free tunnel", free, other, has},
		{"stranger", held(owner), stranger, nothing},
		{"stranger before anybody signed in", free, stranger, nothing},
		{"owner who is no operator any more", held(dismissed), dismissed, lost},
		{"nobody grants anything", Rule{Daemon: User{UID: daemon}, Owner: free.Owner}, owner, nothing},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			for access, letter := range map[Access]string{Public: "P", Read: "R", Operate: "O", Steer: "S", Admin: "A"} {
				err := test.rule.Authorize(Caller{UID: test.uid}, access)
				if (err == nil) != strings.Contains(test.want, letter) {
					got += letter
				}
				var denied *Error
				if err != nil && (!errors.As(err, &denied) || denied.Code != CodePermission || !strings.Contains(denied.Remedy, runAsRoot)) {
					t.Errorf("error %#v", err)
				}
			}
			if got != "" {
				t.Errorf("wrong about %s, want %s", got, test.want)
			}
		})
	}
}

// TestRuleForSIDs: on Windows the UID means nothing, and an empty one is not root.
func TestRuleForSIDs(t *testing.T) {
	const daemon, owner, stranger = "S-1-5-21-1-2-3-500", "S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1002"
	signedIn := Rule{Daemon: User{SID: daemon}, Owner: func() (User, bool) { return User{SID: owner}, true }, Operator: func(user User) bool { return user.SID == owner }}
	signedOut := Rule{Daemon: User{SID: daemon}, Owner: func() (User, bool) { return User{}, false }}
	tests := []struct {
		name   string
		rule   Rule
		caller Caller
		want   bool
	}{
		{"LocalSystem", signedOut, Caller{SID: localSystem}, true},
		{"elevated", signedOut, Caller{SID: stranger, Elevated: true}, true},
		{"the daemon's own user", signedOut, Caller{SID: daemon}, true},
		{"user before sign-in, with UID 0 as all have", signedOut, Caller{SID: owner}, false},
		{"owner", signedIn, Caller{SID: owner, Session: 2}, true},
		{"owner in upper case", signedIn, Caller{SID: "s-1-5-21-1-2-3-1001"}, false},
		{"stranger", signedIn, Caller{SID: stranger}, false},
		{"NetworkService", signedIn, Caller{SID: "S-1-5-20"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.rule.Authorize(test.caller, Operate); (err == nil) != test.want {
				t.Errorf("Authorize() = %v", err)
			}
		})
	}
}

func TestEveryCallHasAnAccess(t *testing.T) {
	description := localv1.DRPCLocalDescription{}
	for i := range description.NumMethods() {
		name, _, _, _, _ := description.Method(i)
		if _, ok := access[name]; !ok {
			t.Errorf("%s has no access", name)
		}
	}
	if len(access) != description.NumMethods() {
		t.Errorf("%d accesses for %d calls", len(access), description.NumMethods())
	}
}

func TestRefusalCrosses(t *testing.T) {
	rule := Rule{Daemon: User{UID: 1}, Owner: func() (User, bool) { return User{UID: 1000}, true }}
	// Whoever runs the test counts as a stranger.
	path := serve(t, &fake{}, func(_ Caller, need Access) error { return rule.Authorize(Caller{UID: 1001}, need) })
	client := dial(t, path)
	for name, call := range map[string]func() error{
		"examine": func() error { _, err := client.Examine(t.Context(), &localv1.ExamineRequest{}); return err },
		"up":      func() error { _, err := client.Up(t.Context(), &localv1.UpRequest{}); return err },
		"login": func() error {
			_, err := client.Login(t.Context(), &localv1.LoginRequest{Token: strings.Repeat("x", 100<<10)})
			return err
		},
		"watch": func() error {
			stream, err := client.WatchLogs(t.Context(), &localv1.WatchLogsRequest{})
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	} {
		var denied *Error
		if err := call(); !errors.As(err, &denied) || denied.Code != CodePermission {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Public: gets past the rule, to a handler that does not have it.
	_, err := client.GetVersion(t.Context(), &localv1.GetVersionRequest{})
	var unknown *Error
	if !errors.As(err, &unknown) || unknown.Code != CodeIncompatible {
		t.Errorf("version: %v", err)
	}
}
