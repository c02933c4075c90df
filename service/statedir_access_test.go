package service

import "testing"

func TestStateAccess(t *testing.T) {
	const user, administrator = "S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-500"
	const everybody = "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
	for _, test := range []struct {
		own      string
		elevated bool
		want     string
	}{
		{sidSystem, false, everybody},
		{sidSystem, true, everybody},
		{administrator, true, everybody},
		{user, false, everybody + "(A;OICI;FA;;;" + user + ")"},
	} {
		if got := stateAccess(test.own, test.elevated); got != test.want {
			t.Errorf("%s: %s", test.own, got)
		}
	}
	for owner, want := range map[string]bool{sidSystem: true, sidAdministrators: true, administrator: true, user: false, "": false, "S-1-1-0": false} {
		if got := trustedOwner(owner, administrator); got != want {
			t.Errorf("owner %q: %v", owner, got)
		}
	}
	if trustedOwner("", "") {
		t.Error("an owner that could not be read is trusted")
	}
}
