package service

import (
	"fmt"
	"strings"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// pickUp is the profile that is wanted up. An administrator who takes the tunnel
// over and names no profile means not the one that is active, but the usual one
// of the user for whom it is taken.
func (s *Service) pickUp(now state, who asking, in *localv1.UpRequest) (*Profile, error) {
	if !in.GetTakeOver() || !who.admin || in.GetProfile() != "" {
		return s.pick(now, who, in.GetProfile())
	}
	user := who.user
	if in.ForUid != nil {
		user = localapi.User{UID: in.GetForUid()}
	}
	for _, p := range now.of(user) {
		if p.signedIn() {
			return &p, nil
		}
	}
	return nil, s.takeForWhom(now, user)
}

// takeForWhom says which profiles there are to take the tunnel for.
func (s *Service) takeForWhom(now state, user localapi.User) error {
	failed := &localapi.Error{
		Code: localapi.CodeUsage, Cause: fmt.Sprintf("take the tunnel over: %s has no profile that is signed in", s.names.of(user)),
		Remedy: "sign in as that user first: causeway login <url>",
	}
	var names []string
	for _, p := range now.profiles {
		if p.signedIn() {
			names = append(names, s.names.handle(p.Owner)+"/"+p.Name)
		}
	}
	if len(names) > 0 {
		failed.Remedy = fmt.Sprintf("name one of: %s; "+asAdmin+"causeway up --take-over --profile %s", strings.Join(names, ", "), names[0])
	}
	return failed
}
