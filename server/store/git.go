package store

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"
)

// GitKey is the SSH key that git in a user's workspaces signs in with.
type GitKey struct {
	// PublicKey is one line, as authorized_keys and the settings of git hosts
	// take it.
	PublicKey string
	// PrivateKey is a PEM block in OpenSSH's format.
	PrivateKey           Secret
	CreatedAt, UpdatedAt time.Time
}

// GitSSHKey is the user's key. The first call makes it.
func (s *Store) GitSSHKey(ctx context.Context, user User) (GitKey, error) {
	key, err := s.gitSSHKey(ctx, user)
	if !errors.Is(err, ErrNotFound) {
		return key, err
	}
	fresh, err := newGitKey(user.Name)
	if err != nil {
		return GitKey{}, err
	}
	// Of two processes one is first, and both read what that one wrote.
	_, err = s.db.ExecContext(ctx, `INSERT INTO git_ssh_keys (user_id, private_key, public_key, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (user_id) DO NOTHING`, idText(user.ID), fresh.PrivateKey.Reveal(), fresh.PublicKey, millis(fresh.CreatedAt))
	if err != nil {
		return GitKey{}, fmt.Errorf("create git key of user %q: %w", user.Name, storageCause(err))
	}
	return s.gitSSHKey(ctx, user)
}

func (s *Store) gitSSHKey(ctx context.Context, user User) (GitKey, error) {
	var key GitKey
	var private string
	var created, updated int64
	err := s.db.QueryRowContext(ctx, "SELECT private_key, public_key, created_at, updated_at FROM git_ssh_keys WHERE user_id = $1", idText(user.ID)).
		Scan(&private, &key.PublicKey, &created, &updated)
	if err != nil {
		return GitKey{}, fmt.Errorf("read git key of user %q: %w", user.Name, missing(err))
	}
	key.PrivateKey, key.CreatedAt, key.UpdatedAt = Secret{private}, fromMillis(created), fromMillis(updated)
	return key, nil
}

// ReplaceGitSSHKey makes a new key for the user. The old one is gone: it still
// has to be taken from the git hosts that know it.
func (s *Store) ReplaceGitSSHKey(ctx context.Context, user User) (GitKey, error) {
	fresh, err := newGitKey(user.Name)
	if err != nil {
		return GitKey{}, err
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO git_ssh_keys (user_id, private_key, public_key, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (user_id) DO UPDATE SET private_key = excluded.private_key, public_key = excluded.public_key, updated_at = excluded.updated_at`,
		idText(user.ID), fresh.PrivateKey.Reveal(), fresh.PublicKey, millis(fresh.CreatedAt))
	if err != nil {
		return GitKey{}, fmt.Errorf("replace git key of user %q: %w", user.Name, storageCause(err))
	}
	return s.gitSSHKey(ctx, user)
}

func newGitKey(user string) (GitKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return GitKey{}, fmt.Errorf("make git key: %w", err)
	}
	wire, err := ssh.NewPublicKey(public)
	if err != nil {
		return GitKey{}, fmt.Errorf("make git key: %w", err)
	}
	comment := user + "@causeway"
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return GitKey{}, fmt.Errorf("make git key: %w", err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(wire))) + " " + comment
	return GitKey{PublicKey: line, PrivateKey: Secret{string(pem.EncodeToMemory(block))}, CreatedAt: now()}, nil
}

// GitCredential signs git in at a host over HTTP.
type GitCredential struct {
	// Host is in lower case, with a port unless it is that of https.
	Host, Username string
	Password       Secret
	UpdatedAt      time.Time
}

// Bounds of a credential. RFC 1035 has 253 characters for a name, and the
// longest tokens in use, signed ones, stay below 4 KiB.
const (
	gitHostMost     = 253 + len(":65535")
	gitUserMost     = 255
	gitPasswordMost = 4096
	gitHostsMost    = 64 // of one user
)

// GitCredentialError says what is wrong with a credential; never the password.
type GitCredentialError struct{ Field, Problem string }

func (e *GitCredentialError) Error() string { return "git " + e.Field + ": " + e.Problem }

// GitHost reads a host as people give it: with or without scheme, path or
// user. A bad one is a *GitCredentialError.
func GitHost(text string) (string, error) {
	bad := &GitCredentialError{"host", fmt.Sprintf("%q is not a host; want for example github.com or git.example.com:8443", clip(text))}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Hostname() == "" || len(parsed.Host) > gitHostMost {
		return "", bad
	}
	if strings.ContainsFunc(parsed.Host, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", bad
	}
	name, port := strings.ToLower(parsed.Hostname()), parsed.Port()
	if number, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || number == 0) {
		return "", bad
	}
	switch {
	case parsed.Scheme == "http" && port != "" && port != "80":
		// Without TLS agents ask for port 80 only: host and port are all that is kept,
		// and a password for HTTPS must not go where a URL without it points.
		return "", &GitCredentialError{"host", "plain HTTP on another port than 80 is not served; use https://"}
	case port == "" && parsed.Scheme == "http":
		port = "80"
	case port == "443" && parsed.Scheme == "https":
		port = ""
	}
	if port == "" {
		if strings.Contains(name, ":") {
			return "[" + name + "]", nil
		}
		return name, nil
	}
	return net.JoinHostPort(name, port), nil
}

// clip bounds what an error repeats of its input, and leaves out what may be a
// user and a password.
func clip(text string) string {
	text = text[strings.LastIndex(text, "@")+1:]
	if len(text) > 64 {
		return text[:64] + "..."
	}
	return text
}

// SetGitCredential keeps what git signs in with at a host, in place of what was
// there. What is wrong is a *GitCredentialError.
func (s *Store) SetGitCredential(ctx context.Context, user User, host, username, password string) (GitCredential, error) {
	host, err := GitHost(host)
	if err != nil {
		return GitCredential{}, err
	}
	for _, part := range []struct {
		field, value string
		most         int
	}{{"username", username, gitUserMost}, {"password", password, gitPasswordMost}} {
		switch {
		case part.value == "":
			return GitCredential{}, &GitCredentialError{part.field, "it is empty"}
		case len(part.value) > part.most:
			return GitCredential{}, &GitCredentialError{part.field, fmt.Sprintf("it has %d bytes; %d are the most", len(part.value), part.most)}
		case strings.ContainsFunc(part.value, unicode.IsControl):
			return GitCredential{}, &GitCredentialError{part.field, "it has a control character, such as a line break"}
		}
	}
	credential := GitCredential{Host: host, Username: username, Password: Secret{password}, UpdatedAt: now()}
	result, err := s.db.ExecContext(ctx, `INSERT INTO git_credentials (user_id, host, username, password, updated_at)
		SELECT $1, $2, $3, $4, $5 WHERE (SELECT COUNT(*) FROM git_credentials WHERE user_id = $1 AND host <> $2) < $6
		ON CONFLICT (user_id, host) DO UPDATE SET username = excluded.username, password = excluded.password, updated_at = excluded.updated_at`,
		idText(user.ID), host, username, password, millis(credential.UpdatedAt), gitHostsMost)
	if err != nil {
		return GitCredential{}, fmt.Errorf("keep git credential of user %q for %s: %w", user.Name, host, storageCause(err))
	}
	if changed, err := result.RowsAffected(); err != nil || changed == 0 {
		return GitCredential{}, &GitCredentialError{"host", fmt.Sprintf("%d of them are the most that a user may have; delete one", gitHostsMost)}
	}
	return credential, nil
}

const gitCredentialQuery = "SELECT host, username, password, updated_at FROM git_credentials WHERE user_id = $1 "

func scanGitCredential(row scanner) (GitCredential, error) {
	var credential GitCredential
	var password string
	var updated int64
	err := row.Scan(&credential.Host, &credential.Username, &password, &updated)
	credential.Password, credential.UpdatedAt = Secret{password}, fromMillis(updated)
	return credential, err
}

// GitCredentials lists a user's by host.
func (s *Store) GitCredentials(ctx context.Context, user uuid.UUID) ([]GitCredential, error) {
	rows, err := s.db.QueryContext(ctx, gitCredentialQuery+"ORDER BY host", idText(user))
	list, err := collect(rows, err, scanGitCredential)
	if err != nil {
		return nil, fmt.Errorf("list git credentials of user %s: %w", user, err)
	}
	return list, nil
}

// GitCredentialFor is the user's for the host of a URL: exactly that host and
// port. None is ErrNotFound.
func (s *Store) GitCredentialFor(ctx context.Context, user uuid.UUID, target string) (GitCredential, error) {
	host, err := GitHost(target)
	if err != nil {
		return GitCredential{}, err
	}
	credential, err := scanGitCredential(s.db.QueryRowContext(ctx, gitCredentialQuery+"AND host = $2", idText(user), host))
	if err != nil {
		return GitCredential{}, fmt.Errorf("find git credential for %s: %w", host, missing(err))
	}
	return credential, nil
}

// DeleteGitCredential removes a user's for a host.
func (s *Store) DeleteGitCredential(ctx context.Context, user uuid.UUID, host string) error {
	host, err := GitHost(host)
	if err != nil {
		return err
	}
	result, err := s.db.ExecContext(ctx, "DELETE FROM git_credentials WHERE user_id = $1 AND host = $2", idText(user), host)
	if err := affected(result, err); err != nil {
		return fmt.Errorf("delete git credential for %s: %w", host, err)
	}
	return nil
}
