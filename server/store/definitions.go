package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// KindSecret is the kind of an agent's secrets, as it stands in errors.
const KindSecret = "secret"

// SecretsTotal bounds the values of one agent's secrets together, in bytes:
// they travel in one message with all else that the agent is told, of which the
// transport takes 4 MiB, and most of them end in the environment of each
// program, for which Linux has 2 MiB.
const SecretsTotal = 512 << 10

// ErrRevision is wrapped when a definition is not of the revision that a change
// was made for.
var ErrRevision = errors.New("the definition has been changed meanwhile")

// ErrSecretsTotal is wrapped when an agent's secrets are too large together.
var ErrSecretsTotal = fmt.Errorf("the secrets of one agent may have %d bytes together", SecretsTotal)

// SecretValue is what a secret holds. It prints as redacted.
type SecretValue []byte

// String hides the secret.
func (SecretValue) String() string { return "[redacted]" }

// GoString hides the secret.
func (v SecretValue) GoString() string { return v.String() }

// LogValue hides the secret.
func (v SecretValue) LogValue() slog.Value { return slog.StringValue(v.String()) }

// MarshalText hides the secret from encoders.
func (v SecretValue) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// AgentSecret is a secret that a definition names.
type AgentSecret struct {
	Name string
	// Value is nil until it is set.
	Value     SecretValue
	UpdatedAt time.Time
}

// Definition says what an agent is to be.
type Definition struct {
	AgentID uuid.UUID
	// Revision is 0 for an agent that nobody has defined, and changes with each
	// change. It is a number of the whole deployment.
	Revision int64
	// Document is JSON without the values of secrets; nil for revision 0.
	Document  []byte
	UpdatedAt time.Time
	// UpdatedBy is a user's name, or what else has changed it.
	UpdatedBy string
	// Secrets come by name.
	Secrets []AgentSecret
}

// DefinitionChange is a new document for an agent.
type DefinitionChange struct {
	Document []byte
	// Secrets are the names of those that the document has. They keep their
	// values; others go.
	Secrets []string
	// Values are new ones for some of Secrets.
	Values map[string]SecretValue
	By     string
	// Expected is the revision that the change was made for; nil: whichever.
	Expected *int64
}

// Definition reads what an agent is to be; of one that nobody has defined the
// revision is 0.
func (s *Store) Definition(ctx context.Context, agent uuid.UUID) (Definition, error) {
	// One transaction, so that document and secrets are of one revision; it is
	// a reader's, which waits for no writer.
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return Definition{}, fmt.Errorf("read definition of agent %s: %w", agent, storageCause(err))
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	definition, err := readDefinition(ctx, tx, agent)
	if err != nil {
		return Definition{}, fmt.Errorf("read definition of agent %s: %w", agent, err)
	}
	return definition, nil
}

func readDefinition(ctx context.Context, tx *sql.Tx, agent uuid.UUID) (Definition, error) {
	definition := Definition{AgentID: agent}
	var updated int64
	err := tx.QueryRowContext(ctx, "SELECT revision, document, updated_at, updated_by FROM agent_definitions WHERE agent_id = $1", idText(agent)).
		Scan(&definition.Revision, &definition.Document, &updated, &definition.UpdatedBy)
	if errors.Is(err, sql.ErrNoRows) {
		return definition, nil
	}
	if err != nil {
		return Definition{}, storageCause(err)
	}
	definition.UpdatedAt = fromMillis(updated)
	rows, err := tx.QueryContext(ctx, "SELECT name, value, updated_at FROM agent_secrets WHERE agent_id = $1 ORDER BY name", idText(agent))
	definition.Secrets, err = collect(rows, err, func(row scanner) (AgentSecret, error) {
		var secret AgentSecret
		var at int64
		err := row.Scan(&secret.Name, (*[]byte)(&secret.Value), &at)
		secret.UpdatedAt = fromMillis(at)
		return secret, err
	})
	return definition, err
}

// SetDefinition gives an agent a new document, and says whether that has changed
// anything: the same one again leaves the revision. An agent that is not there
// wraps ErrNotFound, another revision than the expected one ErrRevision, and too
// large secrets ErrSecretsTotal.
func (s *Store) SetDefinition(ctx context.Context, agent uuid.UUID, change DefinitionChange) (Definition, bool, error) {
	return s.changeDefinition(ctx, agent, change.By, func(definition *Definition) error {
		if change.Expected != nil && *change.Expected != definition.Revision {
			return fmt.Errorf("%w: its revision is %d, not %d", ErrRevision, definition.Revision, *change.Expected)
		}
		definition.Document = change.Document
		definition.Secrets = mergeSecrets(definition.Secrets, change)
		return nil
	})
}

// mergeSecrets keeps what a change leaves alone.
func mergeSecrets(old []AgentSecret, change DefinitionChange) []AgentSecret {
	before := map[string]AgentSecret{}
	for _, secret := range old {
		before[secret.Name] = secret
	}
	var merged []AgentSecret
	for _, name := range slices.Sorted(slices.Values(change.Secrets)) {
		secret, known := before[name]
		if !known {
			secret = AgentSecret{Name: name, UpdatedAt: now()}
		}
		if value, given := change.Values[name]; given && (secret.Value == nil || !bytes.Equal(secret.Value, value)) {
			secret.Value, secret.UpdatedAt = value, now()
		}
		merged = append(merged, secret)
	}
	return merged
}

// SetSecret gives a secret of an agent its value, or takes it away when it is
// nil. One that the agent's document does not name wraps ErrNotFound.
func (s *Store) SetSecret(ctx context.Context, agent uuid.UUID, name string, value SecretValue, by string) (Definition, bool, error) {
	return s.changeDefinition(ctx, agent, by, func(definition *Definition) error {
		secrets := slices.Clone(definition.Secrets)
		at := slices.IndexFunc(secrets, func(secret AgentSecret) bool { return secret.Name == name })
		if at < 0 {
			return fmt.Errorf("%s %q: %w", KindSecret, name, ErrNotFound)
		}
		if (value == nil) != (secrets[at].Value == nil) || !bytes.Equal(value, secrets[at].Value) {
			secrets[at].Value, secrets[at].UpdatedAt = value, now()
		}
		definition.Secrets = secrets
		return nil
	})
}

// changeDefinition does what edit says to a definition, which nobody else changes
// meanwhile.
func (s *Store) changeDefinition(ctx context.Context, agent uuid.UUID, by string, edit func(*Definition) error) (_ Definition, changed bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("change definition of agent %s: %w", agent, err)
		}
	}()
	tx, err := s.db.BeginTx(ctx, nil) // IMMEDIATE, as all that write
	if err != nil {
		return Definition{}, false, storageCause(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	var there int
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM agents WHERE id = $1", idText(agent)).Scan(&there); err != nil {
		return Definition{}, false, storageCause(err)
	}
	if there == 0 {
		return Definition{}, false, ErrNotFound
	}
	before, err := readDefinition(ctx, tx, agent)
	if err != nil {
		return Definition{}, false, err
	}
	after := before
	if err := edit(&after); err != nil {
		return Definition{}, false, err
	}
	if before.Revision != 0 && bytes.Equal(before.Document, after.Document) && slices.EqualFunc(before.Secrets, after.Secrets, sameSecret) {
		return before, false, nil
	}
	if total(after.Secrets) > SecretsTotal {
		return Definition{}, false, ErrSecretsTotal
	}
	after.UpdatedAt, after.UpdatedBy = now(), by
	if err := writeDefinition(ctx, tx, &after); err != nil {
		return Definition{}, false, err
	}
	return after, true, storageCause(tx.Commit())
}

func sameSecret(a, b AgentSecret) bool {
	return a.Name == b.Name && (a.Value == nil) == (b.Value == nil) && bytes.Equal(a.Value, b.Value)
}

func total(secrets []AgentSecret) int {
	sum := 0
	for _, secret := range secrets {
		sum += len(secret.Value)
	}
	return sum
}

// writeDefinition gives the definition a revision of its own and writes it.
func writeDefinition(ctx context.Context, tx *sql.Tx, definition *Definition) error {
	if _, err := tx.ExecContext(ctx, "UPDATE definition_revisions SET last = last + 1"); err != nil {
		return storageCause(err)
	}
	if err := tx.QueryRowContext(ctx, "SELECT last FROM definition_revisions").Scan(&definition.Revision); err != nil {
		return storageCause(err)
	}
	id := idText(definition.AgentID)
	_, err := tx.ExecContext(ctx, `INSERT INTO agent_definitions (agent_id, revision, document, updated_at, updated_by) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (agent_id) DO UPDATE SET revision = excluded.revision, document = excluded.document, updated_at = excluded.updated_at, updated_by = excluded.updated_by`,
		id, definition.Revision, definition.Document, millis(definition.UpdatedAt), definition.UpdatedBy)
	if err != nil {
		return storageCause(err)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM agent_secrets WHERE agent_id = $1", id); err != nil {
		return storageCause(err)
	}
	for _, secret := range definition.Secrets {
		var value any // NULL, unless it is set
		if secret.Value != nil {
			value = []byte(secret.Value)
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO agent_secrets (agent_id, name, value, updated_at) VALUES ($1, $2, $3, $4)",
			id, secret.Name, value, millis(secret.UpdatedAt))
		if err != nil {
			return conflict(err)
		}
	}
	return nil
}

// DefinitionsSince gives the revision of each definition that has changed after a
// revision, which costs as much as there are such.
func (s *Store) DefinitionsSince(ctx context.Context, revision int64) (map[uuid.UUID]int64, error) {
	type row struct {
		agent    uuid.UUID
		revision int64
	}
	rows, err := s.db.QueryContext(ctx, "SELECT agent_id, revision FROM agent_definitions WHERE revision > $1", revision)
	list, err := collect(rows, err, func(from scanner) (row, error) {
		var one row
		err := from.Scan(&one.agent, &one.revision)
		return one, err
	})
	if err != nil {
		return nil, fmt.Errorf("list changed definitions: %w", err)
	}
	return maps.Collect(func(yield func(uuid.UUID, int64) bool) {
		for _, one := range list {
			if !yield(one.agent, one.revision) {
				return
			}
		}
	}), nil
}
