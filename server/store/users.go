package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// User is somebody who owns workspaces.
type User struct {
	ID    uuid.UUID
	Name  string
	Email string
	// Admin may create, list and delete users over the API. It gives no access
	// to anybody else's workspaces.
	Admin     bool
	CreatedAt time.Time
}

const userColumns = "users.id, users.name, users.email, users.is_admin, users.created_at"

func scanUser(row scanner) (User, error) {
	var user User
	var admin, created int64
	err := row.Scan(user.fields(&admin, &created)...)
	return user.finish(admin, created), err
}

func (u *User) fields(admin, created *int64) []any {
	return []any{&u.ID, &u.Name, &u.Email, admin, created}
}

func (u User) finish(admin, created int64) User {
	u.Admin, u.CreatedAt = admin != 0, fromMillis(created)
	return u
}

// CreateUser adds a user; the first one of all becomes an administrator. A bad
// name is a *NameError, a taken one wraps ErrExists. The email may be empty.
func (s *Store) CreateUser(ctx context.Context, name, email string) (User, error) {
	return s.insertUser(ctx, name, email, "")
}

// CreateFirstUser is CreateUser while there is no user at all, and an error
// that wraps ErrExists afterwards. The check and the insert are one statement,
// so that of two callers at the same time one loses.
func (s *Store) CreateFirstUser(ctx context.Context, name, email string) (User, error) {
	return s.insertUser(ctx, name, email, " WHERE NOT EXISTS (SELECT 1 FROM users)")
}

func (s *Store) insertUser(ctx context.Context, name, email, condition string) (User, error) {
	if err := CheckName(KindUser, name); err != nil {
		return User{}, err
	}
	id := uuid.New()
	result, err := s.db.ExecContext(ctx, `INSERT INTO users (id, name, name_key, email, is_admin, created_at)
		SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT),
			CASE WHEN EXISTS (SELECT 1 FROM users) THEN 0 ELSE 1 END, CAST($5 AS BIGINT)`+condition,
		idText(id), name, nameKey(name), email, millis(now()))
	if err != nil {
		return User{}, fmt.Errorf("create user %q: %w", name, conflict(err))
	}
	if count, err := result.RowsAffected(); err != nil || count == 0 {
		return User{}, fmt.Errorf("create first user %q: a user %w", name, ErrExists)
	}
	return s.User(ctx, id)
}

// Users lists all users by name.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+userColumns+" FROM users ORDER BY name_key")
	list, err := collect(rows, err, scanUser)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return list, nil
}

// UserCount says how many users there are.
func (s *Store) UserCount(ctx context.Context) (int, error) {
	var count int
	if err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM users").Scan(&count); err != nil {
		return 0, fmt.Errorf("count users: %w", storageCause(err))
	}
	return count, nil
}

// User finds a user by id.
func (s *Store) User(ctx context.Context, id uuid.UUID) (User, error) {
	user, err := scanUser(s.db.QueryRowContext(ctx, "SELECT "+userColumns+" FROM users WHERE id = $1", idText(id)))
	if err != nil {
		return User{}, fmt.Errorf("find user %s: %w", id, missing(err))
	}
	return user, nil
}

// UserByName finds a user without regard to case.
func (s *Store) UserByName(ctx context.Context, name string) (User, error) {
	user, err := scanUser(s.db.QueryRowContext(ctx, "SELECT "+userColumns+" FROM users WHERE name_key = $1", nameKey(name)))
	if err != nil {
		return User{}, fmt.Errorf("find user %q: %w", name, missing(err))
	}
	return user, nil
}

// DeleteUser removes a user with its tokens, workspaces and agents.
func (s *Store) DeleteUser(ctx context.Context, id uuid.UUID) error {
	result, err := s.db.ExecContext(ctx, "DELETE FROM users WHERE id = $1", idText(id))
	if err := affected(result, err); err != nil {
		return fmt.Errorf("delete user %s: %w", id, err)
	}
	return nil
}
