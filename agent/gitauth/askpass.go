package gitauth

import (
	"net/url"
	"strings"
)

// Question is what git asks a program for.
type Question struct {
	Password bool   // else the user name
	URL      string // with the host, maybe with a path and a user
}

// ReadPrompt reads git's question, "Username for 'https://host': " or "Password
// for 'https://user@host': ", which git does not translate (credential.c). Other
// questions are not ours.
func ReadPrompt(prompt string) (Question, bool) {
	var question Question
	rest, found := strings.CutPrefix(prompt, "Username for ")
	if !found {
		if rest, found = strings.CutPrefix(prompt, "Password for "); !found {
			return Question{}, false
		}
		question.Password = true
	}
	rest = strings.TrimSuffix(strings.TrimSpace(rest), ":")
	if len(rest) < 2 || rest[0] != '\'' || rest[len(rest)-1] != '\'' {
		return Question{}, false
	}
	target, err := url.Parse(rest[1 : len(rest)-1])
	if err != nil || target.Host == "" || target.Scheme != "https" && (target.Scheme != "http" || target.Port() != "") {
		return Question{}, false
	}
	// What was typed already is not for the control plane.
	target.User = nil
	question.URL = target.String()
	return question, true
}
