package localapi

import (
	"errors"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/proto/localv1"
)

func TestRule(t *testing.T) {
	const daemon, owner, stranger = 990, 1000, 1001
	signedIn := Rule{DaemonUID: daemon, Owner: func() (uint32, bool) { return owner, true }}
	signedOut := Rule{DaemonUID: daemon, Owner: func() (uint32, bool) { return 0, false }}
	tests := []struct {
		name   string
		rule   Rule
		uid    uint32
		access Access
		want   bool
	}{
		{"root operates", signedOut, 0, Operate, true},
		{"daemon operates", signedOut, daemon, Operate, true},
		{"owner operates", signedIn, owner, Operate, true},
		{"owner reads", signedIn, owner, Read, true},
		{"stranger reads", signedIn, stranger, Read, false},
		{"stranger operates", signedIn, stranger, Operate, false},
		{"stranger asks the version", signedIn, stranger, Public, true},
		{"user before sign-in", signedOut, owner, Read, false},
		{"user before sign-in operates", signedOut, owner, Operate, false},
		{"root after sign-in", signedIn, 0, Operate, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.rule.Authorize(Caller{UID: test.uid}, test.access)
			if (err == nil) != test.want {
				t.Fatalf("Authorize() = %v", err)
			}
			var denied *Error
			if err != nil && (!errors.As(err, &denied) || denied.Code != CodePermission || !strings.Contains(denied.Remedy, "sudo")) {
				t.Errorf("error %#v", err)
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
	rule := Rule{DaemonUID: 1, Owner: func() (uint32, bool) { return 1000, true }}
	// Whoever runs the test counts as a stranger.
	path := serve(t, &fake{}, func(_ Caller, need Access) error { return rule.Authorize(Caller{UID: 1001}, need) })
	client := dial(t, path)
	for name, call := range map[string]func() error{
		"status": func() error { _, err := client.GetStatus(t.Context(), &localv1.GetStatusRequest{}); return err },
		"up":     func() error { _, err := client.Up(t.Context(), &localv1.UpRequest{}); return err },
		"login": func() error {
			_, err := client.Login(t.Context(), &localv1.LoginRequest{Token: strings.Repeat("x", 100<<10)})
			return err
		},
		"watch": func() error {
			stream, err := client.WatchStatus(t.Context(), &localv1.GetStatusRequest{})
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
