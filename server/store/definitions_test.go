package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

func define(t *testing.T, s *Store, agent uuid.UUID, change DefinitionChange) (Definition, bool) {
	t.Helper()
	definition, changed, err := s.SetDefinition(t.Context(), agent, change)
	if err != nil {
		t.Fatal(err)
	}
	return definition, changed
}

// values are the secrets of a definition as name=value.
func values(definition Definition) string {
	var list []string
	for _, secret := range definition.Secrets {
		list = append(list, fmt.Sprintf("%s=%s/%t", secret.Name, []byte(secret.Value), secret.Value != nil))
	}
	return strings.Join(list, " ")
}

func TestDefinition(t *testing.T) {
	s := open(t, t.TempDir())
	_, workspace, agent := sample(t, s, "alice")
	if definition, err := s.Definition(t.Context(), agent.ID); err != nil || definition.Revision != 0 || definition.Document != nil {
		t.Errorf("nobody has defined it: %+v, %v", definition, err)
	}
	if _, _, err := s.SetSecret(t.Context(), agent.ID, "x", SecretValue("1"), ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("secret of no definition: %v", err)
	}
	change := DefinitionChange{Document: []byte("{1}"), Secrets: []string{"kept", "gone"}, Values: map[string]SecretValue{"kept": SecretValue("k"), "gone": SecretValue("g")}, By: "alice"}
	first, changed := define(t, s, agent.ID, change)
	if !changed || first.Revision != 1 || values(first) != "gone=g/true kept=k/true" || first.UpdatedBy != "alice" || first.UpdatedAt.IsZero() {
		t.Errorf("%+v %t", first, changed)
	}
	if again, changed := define(t, s, agent.ID, change); changed || again.Revision != 1 {
		t.Errorf("the same again: %+v %t", again, changed)
	}
	// A document without values keeps those that there are; another secret is new.
	second, changed := define(t, s, agent.ID, DefinitionChange{Document: []byte("{2}"), Secrets: []string{"kept", "new"}, By: "bob"})
	if !changed || second.Revision != 2 || values(second) != "kept=k/true new=/false" || second.UpdatedBy != "bob" {
		t.Errorf("%+v %t", second, changed)
	}
	if read, err := s.Definition(t.Context(), agent.ID); err != nil || values(read) != values(second) || string(read.Document) != "{2}" || read.Revision != 2 {
		t.Errorf("%+v, %v", read, err)
	}
	for _, step := range []struct {
		value   SecretValue
		changed bool
		want    string
	}{
		{nil, false, "kept=k/true new=/false"}, {SecretValue("n"), true, "kept=k/true new=n/true"},
		{SecretValue("n"), false, "kept=k/true new=n/true"}, {nil, true, "kept=k/true new=/false"},
	} {
		got, changed, err := s.SetSecret(t.Context(), agent.ID, "new", step.value, "")
		if err != nil || changed != step.changed || values(got) != step.want {
			t.Errorf("set %s: %s %t, %v", []byte(step.value), values(got), changed, err)
		}
	}
	if _, _, err := s.SetSecret(t.Context(), agent.ID, "none", SecretValue("n"), ""); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `secret "none"`) {
		t.Errorf("a secret that the document does not name: %v", err)
	}
	// It goes with its agent, and its revision is never used again.
	if err := s.DeleteAgent(t.Context(), agent.ID); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := s.db.QueryRow("SELECT (SELECT COUNT(*) FROM agent_definitions) + (SELECT COUNT(*) FROM agent_secrets)").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left, %v", left, err)
	}
	if _, _, err := s.SetDefinition(t.Context(), agent.ID, change); !errors.Is(err, ErrNotFound) {
		t.Errorf("of an agent that is not there: %v", err)
	}
	other, err := s.CreateAgent(t.Context(), workspace, "other")
	if err != nil {
		t.Fatal(err)
	}
	third, _ := define(t, s, other.ID, change)
	if third.Revision != 5 {
		t.Errorf("revision %d, want 5", third.Revision)
	}
	for since, want := range map[int64]int{0: 1, 4: 1, 5: 0} {
		if list, err := s.DefinitionsSince(t.Context(), since); err != nil || len(list) != want || want == 1 && list[other.ID] != 5 {
			t.Errorf("since %d: %v, %v", since, list, err)
		}
	}
}

// TestDefinitionRevision: of many who change the same revision one succeeds.
func TestDefinitionRevision(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	var none int64
	var group sync.WaitGroup
	outcomes := make(chan error, 16)
	for i := range cap(outcomes) {
		group.Go(func() {
			_, _, err := s.SetDefinition(t.Context(), agent.ID, DefinitionChange{Document: fmt.Appendf(nil, "{%d}", i), Expected: &none})
			outcomes <- err
		})
	}
	group.Wait()
	close(outcomes)
	succeeded := 0
	for err := range outcomes {
		switch {
		case err == nil:
			succeeded++
		case !errors.Is(err, ErrRevision):
			t.Error(err)
		}
	}
	if succeeded != 1 {
		t.Errorf("%d have changed revision 0", succeeded)
	}
}

func TestSecretsTotal(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	half := SecretValue(bytes.Repeat([]byte("x"), SecretsTotal/2))
	define(t, s, agent.ID, DefinitionChange{Document: []byte("{}"), Secrets: []string{"a", "b", "c"}, Values: map[string]SecretValue{"a": half, "b": half}})
	if _, _, err := s.SetSecret(t.Context(), agent.ID, "c", SecretValue("x"), ""); !errors.Is(err, ErrSecretsTotal) || !strings.Contains(err.Error(), "524288 bytes") {
		t.Errorf("one byte too much: %v", err)
	}
	if read, err := s.Definition(t.Context(), agent.ID); err != nil || read.Revision != 1 || read.Secrets[2].Value != nil {
		t.Errorf("what was refused has changed something: %d, %v", read.Revision, err)
	}
}

func TestSecretValueIsRedacted(t *testing.T) {
	value := SecretValue("hunter2")
	text, err := json.Marshal(AgentSecret{Value: value})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{fmt.Sprint(value), fmt.Sprintf("%#v", value), fmt.Sprintf("%+v", AgentSecret{Value: value}), value.LogValue().String(), string(text)} {
		if strings.Contains(form, "hunter2") || !strings.Contains(form, "[redacted]") {
			t.Errorf("%s", form)
		}
	}
}

// TestBackupKeepsDefinitions: documents, secrets and banners come back, and so
// does the place where revisions go on.
func TestBackupKeepsDefinitions(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	s := open(t, dir)
	_, _, agent := sample(t, s, "alice")
	want, _ := define(t, s, agent.ID, DefinitionChange{Document: []byte("{1}"), Secrets: []string{"a"}, Values: map[string]SecretValue{"a": SecretValue("\x00\xff")}})
	if err := s.SetBanners(t.Context(), []Banner{{Enabled: true, Message: "first", BackgroundColor: "#004852"}, {Message: "second"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	define(t, s, agent.ID, DefinitionChange{Document: []byte("{2}")})
	if err := s.SetBanners(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Restore(t.Context(), dir, backup); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got, err := s.Definition(t.Context(), agent.ID); err != nil || string(got.Document) != "{1}" || got.Revision != want.Revision || values(got) != values(want) {
		t.Errorf("%+v, %v", got, err)
	}
	banners, err := s.Banners(t.Context())
	if err != nil || fmt.Sprint(banners) != "[{true first #004852} {false second }]" {
		t.Errorf("%v, %v", banners, err)
	}
	if next, _ := define(t, s, agent.ID, DefinitionChange{Document: []byte("{3}")}); next.Revision != want.Revision+1 {
		t.Errorf("revision %d", next.Revision)
	}
}
