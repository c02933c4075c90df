package service

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto/localv1"
)

func TestListChanges(t *testing.T) {
	r := newRig(t)
	_, call, _ := r.start(t)
	list := func() string {
		answer, err := call.ListChanges(t.Context(), &localv1.ListChangesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, change := range answer.GetChanges() {
			lines = append(lines, change.GetKind()+": "+change.GetWhat())
		}
		return strings.Join(lines, ", ")
	}
	if got := list(); got != "" {
		t.Errorf("without a journal: %s", got)
	}
	path := filepath.Join(r.config.StateDir, hostChanges)
	journal, err := netcfg.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := journal.Record(
		netcfg.Change{Kind: "route", Interface: "causeway0", Index: 7, Value: "fd60::/48"},
		netcfg.Change{Kind: "hosts", Value: "/etc/hosts"}, netcfg.Change{Kind: "address", Index: 7},
	); err != nil {
		t.Fatal(err)
	}
	if got := list(); got != "route: fd60::/48 on causeway0, hosts: /etc/hosts, address: on interface 7" {
		t.Errorf("listed: %s", got)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = call.ListChanges(t.Context(), &localv1.ListChangesRequest{})
	var known *localapi.Error
	if !errors.As(err, &known) || !strings.Contains(known.Cause, path) || !strings.Contains(known.Remedy, "causewayd cleanup") {
		t.Errorf("of a broken journal: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "{" {
		t.Errorf("the journal is now %q, %v", data, err)
	}
}
