package store

import (
	"fmt"
	"strings"
)

// labelLimit is the longest DNS label; every name becomes one.
const labelLimit = 63

// NameError says why a name cannot be given to a user, workspace, agent or
// token. Its text names the thing, the name and the remedy.
type NameError struct {
	// Kind is "user", "workspace" or "agent".
	Kind string
	// Name is what was asked for.
	Name string
	// Problem is the rule that the name breaks.
	Problem string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%s name %q is not valid: %s", e.Kind, e.Name, e.Problem)
}

// CheckName says whether a name can be a DNS label of ours: 1 to 63 ASCII
// letters, digits, hyphens and underscores, with a letter or digit at both
// edges and never two hyphens in a row (those mark names reserved by the
// protocol and by IDNA). The user name "me" is refused, because it stands for
// whoever asks. The result is nil or a *NameError.
func CheckName(kind, name string) error {
	problem := nameProblem(kind, name)
	if problem == "" {
		return nil
	}
	return &NameError{Kind: kind, Name: name, Problem: problem}
}

func nameProblem(kind, name string) string {
	if name == "" {
		return "it is empty; use 1 to 63 letters, digits, hyphens and underscores"
	}
	if len(name) > labelLimit {
		return fmt.Sprintf("it has %d characters; a DNS label has at most %d", len(name), labelLimit)
	}
	for at, char := range name {
		if !nameChar(char) {
			return fmt.Sprintf("character %q at position %d is not allowed; use letters, digits, hyphens and underscores", char, at+1)
		}
	}
	switch {
	case strings.ContainsAny(name[:1], "-_"):
		return fmt.Sprintf("it starts with %q; start with a letter or digit", name[:1])
	case strings.ContainsAny(name[len(name)-1:], "-_"):
		return fmt.Sprintf("it ends with %q; end with a letter or digit", name[len(name)-1:])
	case strings.Contains(name, "--"):
		return fmt.Sprintf("it has a double hyphen at position %d; double hyphens are reserved", strings.Index(name, "--")+1)
	case kind == KindUser && nameKey(name) == "me":
		return `"me" stands for the signed-in user; choose another name`
	}
	return ""
}

func nameChar(char rune) bool {
	return char >= 'a' && char <= 'z' || char >= 'A' && char <= 'Z' || char >= '0' && char <= '9' || char == '-' || char == '_'
}

// nameKey is the form under which a name is unique. Names are ASCII.
func nameKey(name string) string { return strings.ToLower(name) }
