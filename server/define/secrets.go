package define

import (
	"bytes"
	"fmt"
	"slices"
)

// SecretError is a value that a secret cannot have. It does not say the value.
type SecretError struct {
	Name        string
	Found, Want string
}

func (e *SecretError) Error() string {
	return fmt.Sprintf("set secret %q: found %s, want %s", e.Name, e.Found, e.Want)
}

// check says what is wrong with a value for the secret: nothing, for most.
func (s Secret) check(value []byte) (found, want string) {
	limit := SecretLimit
	if s.Env != "" {
		limit = VariableLimit
	}
	switch {
	case len(value) == 0:
		return "an empty value", "at least one byte; leave value out to set it separately"
	case len(value) > limit:
		return fmt.Sprintf("%d bytes", len(value)), fmt.Sprintf("at most %d", limit)
	case s.Env != "" && bytes.IndexByte(value, 0) >= 0:
		return "a NUL byte", "none in what goes into the environment"
	}
	return "", ""
}

// CheckSecret says whether a value will do for the secret of a name: the error is
// a *SecretError, also for a name that the definition does not have.
func (d Definition) CheckSecret(name string, value []byte) error {
	at := slices.IndexFunc(d.Secrets, func(secret Secret) bool { return secret.Name == name })
	if at < 0 {
		return &SecretError{name, "no secret of this name in the agent's definition", "one that is there, or add it to the definition first"}
	}
	if found, want := d.Secrets[at].check(value); found != "" {
		return &SecretError{name, found, want}
	}
	return nil
}

// IsVariable says whether the secret of a name goes into the environment.
func (d Definition) IsVariable(name string) bool {
	return slices.ContainsFunc(d.Secrets, func(secret Secret) bool { return secret.Name == name && secret.Env != "" })
}
