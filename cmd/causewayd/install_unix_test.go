//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/service"
)

// TestInstallerBecomesOperator: as the packages do it, who installs may sign in,
// unless somebody else may already or it is not wanted.
func TestInstallerBecomesOperator(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const installs = 65533
	for name, test := range map[string]struct {
		named, env string
		before     []uint32
		want       []uint32
		says       string
	}{
		"who ran sudo":       {env: "65533", want: []uint32{installs}, says: "the user 65533, who installs, may sign in and connect: causeway login"},
		"root itself":        {env: "0"},
		"no sudo":            {},
		"not wanted":         {named: "none", env: "65533"},
		"another":            {named: "65532", env: "65533", want: []uint32{65532}, says: "done: 65532"},
		"somebody is there":  {env: "65533", before: []uint32{65531}, want: []uint32{65531}},
		"something is wrong": {env: "nobody; rm -rf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SUDO_UID", test.env)
			t.Setenv("PKEXEC_UID", "")
			dir := t.TempDir()
			options := config.Daemon{StateDir: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "s")}
			for _, uid := range test.before {
				if err := service.StoreOperator(options.StateDir, localapi.User{UID: uid}, true); err != nil {
					t.Fatal(err)
				}
			}
			var said bytes.Buffer
			command := &cobra.Command{}
			command.SetContext(t.Context())
			command.SetOut(&said)
			command.SetErr(&said)
			if err := firstOperator(command, hostService{options: options}, test.named); err != nil {
				t.Fatal(err)
			}
			users, err := service.StoredOperators(options.StateDir)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint32
			for _, user := range users {
				got = append(got, user.UID)
			}
			if len(got) != len(test.want) || len(got) > 0 && got[0] != test.want[0] {
				t.Errorf("operators %v, want %v", got, test.want)
			}
			if !strings.Contains(said.String(), test.says) || test.says == "" && said.Len() > 0 {
				t.Errorf("said %q", said.String())
			}
		})
	}
}
