package login

import (
	"os/user"
	"testing"
)

// TestAccount: of the database, else of the environment, else the number.
func TestAccount(t *testing.T) {
	for _, test := range []struct {
		known  *user.User
		named  string // by the environment
		number int
		want   string
	}{
		{&user.User{Username: "alice", HomeDir: "/home/alice", Uid: "1000"}, "bob", 1000, "alice"},
		{nil, "bob", 54321, "bob"},
		{nil, "", 54321, "54321"},
		{&user.User{HomeDir: "/home/alice", Uid: "1000"}, "bob", 1000, "1000"},
		{nil, "", 0, "0"},
		{nil, "", -1, ""},
	} {
		t.Setenv("USER", test.named)
		t.Setenv("HOME", "/home/x")
		got := accountOf(test.known, test.number)
		home := "/home/x"
		if test.known != nil {
			home = test.known.HomeDir
		}
		if got.Name != test.want || got.Home != home || got.Shell == "" {
			t.Errorf("%+v: got %+v", test, got)
		}
	}
}
