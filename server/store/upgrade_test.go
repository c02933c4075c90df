package store

import (
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
)

// atMigration makes a database as a release left it that had so many migrations.
func atMigration(t *testing.T, dir string, last int) *Store {
	t.Helper()
	query := url.Values{"_pragma": {"journal_mode(WAL)", "foreign_keys(ON)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", dataSource(filepath.Join(dir, FileName), query))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := loadMigrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps[:last] {
		if err := applyMigration(t.Context(), db, step); err != nil {
			t.Fatal(err)
		}
	}
	return &Store{db: db, hasher: newHasher()}
}

// tablesWithRows counts the rows of all tables but those that are nobody's.
func tablesWithRows(t *testing.T, s *Store) map[string]int {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), "SELECT name FROM sqlite_master WHERE type = 'table'")
	names, err := collect(rows, err, func(row scanner) (name string, err error) { return name, row.Scan(&name) })
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, name := range names {
		var count int
		if err := s.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+name).Scan(&count); err != nil {
			t.Fatal(err)
		}
		switch name {
		case "schema_migrations", "server_secrets", "definition_revisions", "announcement_banners":
		default:
			counts[name] = count
		}
	}
	return counts
}

// TestUpgradeFromSignIn: what a release without definitions and reports has left
// is all there and takes both; and a user that goes leaves nothing behind.
func TestUpgradeFromSignIn(t *testing.T) {
	dir := t.TempDir()
	old := atMigration(t, dir, 3)
	user, workspace, agent := sample(t, old, "alice")
	if err := old.SetPassword(t.Context(), user, "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	_, token, err := old.CreateAgentToken(t.Context(), agent.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.db.Close(); err != nil {
		t.Fatal(err)
	}

	s := open(t, dir)
	if found, _, err := s.AuthenticateAgent(t.Context(), token.Reveal()); err != nil || found.ID != agent.ID || found.WorkspaceID != workspace.ID {
		t.Errorf("agent %v, %v", found, err)
	}
	proof, err := s.AuthenticatePassword(t.Context(), "alice", "correct horse battery")
	if err != nil || proof.User.ID != user.ID {
		t.Errorf("password: %v", err)
	}
	if _, err := s.CreateSession(t.Context(), proof); err != nil {
		t.Error(err)
	}
	if before, err := s.Definition(t.Context(), agent.ID); err != nil || before.Revision != 0 {
		t.Errorf("definition %+v, %v", before, err)
	}
	if report, err := s.AgentReport(t.Context(), agent.ID); err != nil || report.Lifecycle != LifecycleNone {
		t.Errorf("report %+v, %v", report, err)
	}
	fillNew(t, s, user, agent.ID)
	if err := s.DeleteUser(t.Context(), user.ID); err != nil {
		t.Fatal(err)
	}
	for table, count := range tablesWithRows(t, s) {
		if count != 0 {
			t.Errorf("%d rows are left in %s", count, table)
		}
	}
}

// fillNew puts something of the user's into every table that has come since.
func fillNew(t *testing.T, s *Store, user User, agent uuid.UUID) {
	t.Helper()
	fill(t, s, agent)
	ctx := t.Context()
	_, _, defined := s.SetDefinition(ctx, agent, DefinitionChange{Document: []byte(`{"version":1}`), Secrets: []string{"a"}, Values: map[string]SecretValue{"a": SecretValue("x")}, By: "alice"})
	_, keyed := s.GitSSHKey(ctx, user)
	_, kept := s.SetGitCredential(ctx, user, "github.com", "al", "password")
	if err := errors.Join(defined, keyed, kept); err != nil {
		t.Fatal(err)
	}
	counts := tablesWithRows(t, s)
	for _, table := range append([]string{"agent_definitions", "agent_secrets", "git_ssh_keys", "git_credentials"}, reportTables...) {
		if counts[table] == 0 {
			t.Errorf("nothing in %s to be deleted", table)
		}
	}
}
