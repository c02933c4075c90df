package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
)

var (
	// ErrTokenUnknown: no such token, or its secret is wrong.
	ErrTokenUnknown = errors.New("the token is not known to this server")
	// ErrTokenExpired: the token was right once.
	ErrTokenExpired = errors.New("the token has expired")
	// ErrTokenRevoked: the token was right once.
	ErrTokenRevoked = errors.New("the token has been revoked")
	// ErrAgentToken: an agent's token was shown where a user's is needed.
	ErrAgentToken = errors.New("this is an agent's token, a user's API token is needed here")
	// ErrUserToken: a user's token was shown where an agent's is needed.
	ErrUserToken = errors.New("this is a user's API token, an agent's token is needed here")
)

// A token reads <prefix><id>_<secret>: the prefix tells people and secret
// scanners what it is, the id finds the row, the secret proves the holder. Both
// are lower-case base32, which a double click selects whole.
const (
	userPrefix  = "cwu_"
	agentPrefix = "cwa_"
	idBytes     = 10
	secretBytes = 32
)

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Secret is a token in clear. It exists only between its creation and its one
// display, and prints as redacted everywhere else.
type Secret struct{ text string }

// Reveal is the token itself.
func (s Secret) Reveal() string { return s.text }

// String hides the token.
func (s Secret) String() string { return "[redacted]" }

// GoString hides the token.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the token.
func (s Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText hides the token from encoders that are handed the wrong value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Token describes a token without its secret.
type Token struct {
	ID   string
	Name string
	// UserID or AgentID is set, never both.
	UserID, AgentID uuid.UUID
	CreatedAt       time.Time
	// ExpiresAt and RevokedAt are zero for never.
	ExpiresAt, RevokedAt time.Time
}

// Check says whether the token is good at a time: nil, ErrTokenRevoked or
// ErrTokenExpired.
func (t Token) Check(at time.Time) error {
	switch {
	case !t.RevokedAt.IsZero():
		return ErrTokenRevoked
	case !t.ExpiresAt.IsZero() && !at.Before(t.ExpiresAt):
		return ErrTokenExpired
	}
	return nil
}

const tokenColumns = "tokens.id, tokens.name, tokens.user_id, tokens.agent_id, tokens.created_at, tokens.expires_at, tokens.revoked_at"

type tokenRow struct {
	token                     Token
	user, agent               uuid.NullUUID
	created, expires, revoked int64
}

func (r *tokenRow) fields() []any {
	return []any{&r.token.ID, &r.token.Name, &r.user, &r.agent, &r.created, &r.expires, &r.revoked}
}

func (r *tokenRow) finish() Token {
	r.token.UserID, r.token.AgentID = r.user.UUID, r.agent.UUID
	r.token.CreatedAt, r.token.ExpiresAt, r.token.RevokedAt = fromMillis(r.created), fromMillis(r.expires), fromMillis(r.revoked)
	return r.token
}

func scanToken(row scanner) (Token, error) {
	var read tokenRow
	err := row.Scan(read.fields()...)
	return read.finish(), err
}

// CreateUserToken makes a token for a user. A zero lifetime never expires. The
// secret is returned here and nowhere else.
func (s *Store) CreateUserToken(ctx context.Context, user uuid.UUID, name string, lifetime time.Duration) (Token, Secret, error) {
	return s.createToken(ctx, userPrefix, Token{UserID: user, Name: name}, lifetime)
}

// CreateAgentToken makes a token for an agent. A zero lifetime never expires.
func (s *Store) CreateAgentToken(ctx context.Context, agent uuid.UUID, lifetime time.Duration) (Token, Secret, error) {
	return s.createToken(ctx, agentPrefix, Token{AgentID: agent}, lifetime)
}

func (s *Store) createToken(ctx context.Context, prefix string, token Token, lifetime time.Duration) (Token, Secret, error) {
	id, secret := make([]byte, idBytes), make([]byte, secretBytes)
	rand.Read(id)
	rand.Read(secret)
	token.ID, token.CreatedAt = tokenEncoding.EncodeToString(id), now()
	if lifetime > 0 {
		token.ExpiresAt = token.CreatedAt.Add(lifetime)
	}
	hash := hashSecret(tokenEncoding.EncodeToString(secret))
	_, err := s.db.ExecContext(ctx, `INSERT INTO tokens (id, user_id, agent_id, name, hash, created_at, expires_at, revoked_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0)`,
		token.ID, nullID(token.UserID), nullID(token.AgentID), token.Name, hash, millis(token.CreatedAt), millis(token.ExpiresAt))
	if err != nil {
		return Token{}, Secret{}, fmt.Errorf("create token: %w", conflict(err))
	}
	return token, Secret{prefix + token.ID + "_" + tokenEncoding.EncodeToString(secret)}, nil
}

func nullID(id uuid.UUID) any {
	if id == uuid.Nil {
		return nil
	}
	return idText(id)
}

// hashSecret is plain SHA-256. A slow, salted password hash would only guard
// against guessing, and 256 random bits cannot be guessed; it would let anybody
// burn the server's CPU with wrong tokens.
func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// AuthenticateUser finds the user that holds a token. It fails with
// ErrAgentToken, ErrTokenUnknown, ErrTokenExpired or ErrTokenRevoked; any other
// error is the database's. Only the holder of the right secret is told that a
// token has expired or is revoked.
func (s *Store) AuthenticateUser(ctx context.Context, presented string) (User, Token, error) {
	id, secret, err := splitToken(presented, userPrefix, agentPrefix, ErrAgentToken)
	if err != nil {
		return User{}, Token{}, err
	}
	var user User
	var admin, created int64
	row := s.db.QueryRowContext(ctx, "SELECT tokens.hash, "+tokenColumns+", "+userColumns+" FROM tokens JOIN users ON users.id = tokens.user_id WHERE tokens.id = $1", id)
	token, err := verifyToken(row, secret, user.fields(&admin, &created)...)
	if err != nil {
		return User{}, Token{}, err
	}
	return user.finish(admin, created), token, nil
}

// AuthenticateAgent finds the agent that holds a token, and fails like
// AuthenticateUser, with ErrUserToken for a token of the other kind.
func (s *Store) AuthenticateAgent(ctx context.Context, presented string) (Agent, Token, error) {
	id, secret, err := splitToken(presented, agentPrefix, userPrefix, ErrUserToken)
	if err != nil {
		return Agent{}, Token{}, err
	}
	var agent Agent
	var created, connected int64
	row := s.db.QueryRowContext(ctx, "SELECT tokens.hash, "+tokenColumns+", "+agentColumns+agentTables+"JOIN tokens ON tokens.agent_id = agents.id WHERE tokens.id = $1", id)
	token, err := verifyToken(row, secret, agent.fields(&created, &connected)...)
	if err != nil {
		return Agent{}, Token{}, err
	}
	agent.CreatedAt, agent.FirstConnectedAt = fromMillis(created), fromMillis(connected)
	return agent, token, nil
}

func splitToken(presented, prefix, otherPrefix string, other error) (id, secret string, err error) {
	if strings.HasPrefix(presented, otherPrefix) {
		return "", "", other
	}
	rest, found := strings.CutPrefix(presented, prefix)
	id, secret, split := strings.Cut(rest, "_")
	if !found || !split || len(id) != tokenEncoding.EncodedLen(idBytes) || len(secret) != tokenEncoding.EncodedLen(secretBytes) {
		return "", "", ErrTokenUnknown
	}
	return id, secret, nil
}

func verifyToken(row scanner, secret string, owner ...any) (Token, error) {
	var read tokenRow
	var hash []byte
	err := row.Scan(append(append([]any{&hash}, read.fields()...), owner...)...)
	if err := missing(err); err != nil && !errors.Is(err, ErrNotFound) {
		return Token{}, fmt.Errorf("look up token: %w", err)
	}
	// An unknown id is compared as well (with nothing), so that both refusals
	// do the same work.
	if subtle.ConstantTimeCompare(hashSecret(secret), hash) != 1 {
		return Token{}, ErrTokenUnknown
	}
	token := read.finish()
	return token, token.Check(now())
}

// UserTokens lists a user's tokens, the newest first, revoked ones included.
func (s *Store) UserTokens(ctx context.Context, user uuid.UUID) ([]Token, error) {
	return s.listTokens(ctx, "WHERE user_id = $1 ORDER BY created_at DESC, id", idText(user))
}

// AgentTokens lists an agent's tokens, the newest first, revoked ones included.
func (s *Store) AgentTokens(ctx context.Context, agent uuid.UUID) ([]Token, error) {
	return s.listTokens(ctx, "WHERE agent_id = $1 ORDER BY created_at DESC, id", idText(agent))
}

func (s *Store) listTokens(ctx context.Context, where string, args ...any) ([]Token, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+tokenColumns+" FROM tokens "+where, args...)
	list, err := collect(rows, err, scanToken)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return list, nil
}

// Token finds a token by its id.
func (s *Store) Token(ctx context.Context, id string) (Token, error) {
	token, err := scanToken(s.db.QueryRowContext(ctx, "SELECT "+tokenColumns+" FROM tokens WHERE id = $1", id))
	if err != nil {
		return Token{}, fmt.Errorf("find token %q: %w", id, missing(err))
	}
	return token, nil
}

// LiveTokens is the set of the ids of all tokens that are not revoked, expired
// ones included.
func (s *Store) LiveTokens(ctx context.Context) (map[string]struct{}, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id FROM tokens WHERE revoked_at = 0")
	ids, err := collect(rows, err, func(row scanner) (id string, err error) { return id, row.Scan(&id) })
	if err != nil {
		return nil, fmt.Errorf("list live tokens: %w", err)
	}
	set := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return set, nil
}

// RevokeToken makes a token useless. Its row stays, so that its holder is told
// why. A token that is not there or revoked already wraps ErrNotFound.
func (s *Store) RevokeToken(ctx context.Context, id string) error {
	result, err := s.db.ExecContext(ctx, "UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at = 0", millis(now()), id)
	if err := affected(result, err); err != nil {
		return fmt.Errorf("revoke token %q: %w", id, err)
	}
	return nil
}

// DeleteToken drops a token's row, for one that nobody was given to keep. Its
// holder hears that it is unknown.
func (s *Store) DeleteToken(ctx context.Context, id string) error {
	result, err := s.db.ExecContext(ctx, "DELETE FROM tokens WHERE id = $1", id)
	if err := affected(result, err); err != nil {
		return fmt.Errorf("delete token %q: %w", id, err)
	}
	return nil
}

// PruneTokens drops the rows of tokens that were revoked or have expired before
// a time. Their holders hear that they are unknown from then on.
func (s *Store) PruneTokens(ctx context.Context, before time.Time) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM tokens WHERE (revoked_at > 0 AND revoked_at < $1) OR (expires_at > 0 AND expires_at < $1)", millis(before))
	if err != nil {
		return fmt.Errorf("prune tokens: %w", storageCause(err))
	}
	return nil
}
