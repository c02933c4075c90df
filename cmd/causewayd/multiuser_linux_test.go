package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/localv1"
)

// TestTwoUsersOfOneMachine is the life of a shared machine, with real users and a
// real daemon: each has a profile, one has the tunnel, and it changes hands by
// consent or by an administrator, and not otherwise.
func TestTwoUsersOfOneMachine(t *testing.T) {
	m := newMachine(t)
	m.start(t)
	// Nobody may sign in before an administrator says so.
	m.refused(t, alice, "Login", signIn(alicesToken, alice, "work"))
	m.ok(t, root, "Login", signIn(alicesToken, alice, "work"), nil)
	m.ok(t, root, "SetOperator", `{"operator":{"uid":20002},"allowed":true}`, nil)
	// From then on no root is needed.
	m.ok(t, alice, "Up", `{}`, nil)
	m.ok(t, bob, "Login", signIn(bobsToken, bob, "lab"), nil)
	if got := m.status(t, alice); got.GetView() != localv1.View_FULL || got.GetProfile() != "work" || got.GetUser() != "user-a" || !got.GetWantedUp() {
		t.Errorf("alice sees %v", got)
	}
	// Bob sees that the tunnel is alice's, and nothing of it.
	for _, uid := range []uint32{bob, carol} {
		got := m.status(t, uid)
		want := &localv1.Status{
			State: got.GetState(), Owner: "uid 20001", OwnerUid: proto.Uint32(alice), WantedUp: true, Version: got.GetVersion(), View: localv1.View_SUMMARY,
		}
		if !proto.Equal(got, want) {
			t.Errorf("uid %d sees %v", uid, got)
		}
	}
	denied := m.refused(t, bob, "Up", `{}`)
	if !strings.Contains(denied.Cause, "uid 20001 has this machine's tunnel") || !strings.Contains(denied.Remedy, "sudo causeway up --take-over --profile 20002/lab") {
		t.Errorf("bob is told %+v", denied)
	}
	m.refused(t, bob, "Up", `{"takeOver":true}`)
	m.refused(t, bob, "UseProfile", `{"name":"lab"}`)
	m.refused(t, bob, "Down", `{}`)
	m.seesNothingOfAlices(t, bob)
	m.seesNothingOfAlices(t, carol)
	// By consent.
	m.ok(t, alice, "Down", `{"reason":"bob needs it"}`, nil)
	m.ok(t, bob, "Up", `{}`, nil)
	if got := m.status(t, bob); got.GetView() != localv1.View_FULL || got.GetUser() != "user-b" {
		t.Errorf("bob sees %v", got)
	}
	if got := m.status(t, alice); got.GetView() != localv1.View_SUMMARY || got.GetOwnerUid() != bob || got.GetUser() != "" {
		t.Errorf("alice sees %v", got)
	}
	m.refused(t, alice, "Up", `{}`)
	// By an administrator, who has to say that it is taken.
	m.refused(t, root, "Up", `{"profile":"20001/work"}`)
	m.ok(t, root, "Up", `{"profile":"20001/work","takeOver":true}`, nil)
	// And without a profile, for who ran sudo.
	m.ok(t, root, "Up", `{"takeOver":true,"forUid":20002}`, nil)
	if got := m.status(t, bob); got.GetView() != localv1.View_FULL || got.GetUser() != "user-b" {
		t.Errorf("bob sees %v", got)
	}
	m.ok(t, root, "Up", `{"takeOver":true,"forUid":20001}`, nil)
	if got := m.status(t, alice); got.GetView() != localv1.View_FULL || !got.GetWantedUp() {
		t.Errorf("alice sees %v", got)
	}
	m.seesNothingOfAlices(t, bob)
	// All of it survives the daemon.
	m.stop(t)
	m.start(t)
	if got := m.status(t, alice); got.GetUser() != "user-a" || !got.GetWantedUp() {
		t.Errorf("after a restart alice sees %v", got)
	}
	m.seesNothingOfAlices(t, bob)
	m.refused(t, bob, "Up", `{}`)
	profiles := &localv1.ListProfilesResponse{}
	m.ok(t, bob, "ListProfiles", "{}", profiles)
	if len(profiles.GetProfiles()) != 1 || profiles.GetProfiles()[0].GetName() != "lab" {
		t.Errorf("bob's profiles %v", profiles)
	}
}

// seesNothingOfAlices makes every call there is as another user, while the
// tunnel is alice's, and looks for what is hers in all that comes back. It looks
// at the daemon's files too.
func (m *machine) seesNothingOfAlices(t *testing.T, uid uint32) {
	t.Helper()
	public := map[string]bool{"GetStatus": true, "WatchStatus": true, "GetVersion": true}
	operators := map[string]bool{"ListProfiles": true, "Login": true, "Logout": true, "Up": true, "UseProfile": true, "RenameProfile": true, "RemoveProfile": true}
	for _, method := range methods() {
		request := "{}"
		switch method {
		case "Logout":
			request = `{"profile":"work"}`
		case "UseProfile", "RemoveProfile":
			request = `{"name":"work"}`
		case "RenameProfile":
			request = `{"name":"work","newName":"mine"}`
		case "Up":
			request = `{"profile":"20001/work"}`
		}
		answer := m.as(t, uid, method, request)
		text := answer.Cause + answer.Remedy + string(answer.Body)
		for _, secret := range []string{alicesToken, "header-", "user-a", alicesHost, "X-For-Work"} {
			if strings.Contains(text, secret) {
				t.Errorf("uid %d learns %q by %s: %s", uid, secret, method, text)
			}
		}
		if answer.Code == 0 && !public[method] && method != "ListProfiles" {
			t.Errorf("uid %d may %s: %s", uid, method, text)
		}
		if uid == carol && answer.Code == 0 && !public[method] {
			t.Errorf("a stranger may %s", method)
		}
		if !public[method] && !operators[method] && answer.Code == 0 {
			t.Errorf("an operator may %s of somebody else's tunnel", method)
		}
	}
	for _, name := range []string{"service.json", "settings.json", "lock", "tunnel"} {
		output, err := m.system(t, uid, "cat", filepath.Join(m.state, name)).CombinedOutput()
		if err == nil {
			t.Errorf("uid %d reads %s: %s", uid, name, output)
		}
	}
}

// TestStateIsPrivate: nothing that the daemon writes can be read by others.
func TestStateIsPrivate(t *testing.T) {
	m := newMachine(t)
	m.start(t)
	m.ok(t, root, "Login", signIn(alicesToken, alice, "work"), nil)
	m.ok(t, alice, "Up", `{}`, nil)
	m.ok(t, alice, "SetSettings", `{"values":{"telemetry":"true"}}`, nil)
	files := 0
	err := filepath.WalkDir(m.state, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files++
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %#o", path, mode)
		}
		return nil
	})
	if err != nil || files < 4 {
		t.Errorf("%d files, %v", files, err)
	}
	if strings.Contains(m.log.String(), "alicesecret") {
		t.Error("the log has alice's secrets")
	}
}
