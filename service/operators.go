package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// ListOperators tells who may sign in.
func (s *Service) ListOperators(context.Context, *localv1.ListOperatorsRequest) (*localv1.ListOperatorsResponse, error) {
	s.mu.Lock()
	users := s.state.clone().operators
	s.mu.Unlock()
	s.names.learn(users...)
	out := &localv1.ListOperatorsResponse{}
	for _, user := range users {
		one := &localv1.Operator{Sid: user.SID, Name: s.names.of(user)}
		if user.SID == "" {
			one.Uid = proto.Uint32(user.UID)
		}
		out.Operators = append(out.Operators, one)
	}
	return out, nil
}

// SetOperator lets a user sign in, or no more. The profiles of who may no more
// stay, and so does a tunnel that is up; an administrator may take it down.
func (s *Service) SetOperator(_ context.Context, in *localv1.SetOperatorRequest) (*localv1.SetOperatorResponse, error) {
	user, known := operatorOf(in.GetOperator())
	if !known || (user.SID == "") != (s.user.SID == "") {
		return nil, &localapi.Error{Code: localapi.CodeUsage, Cause: "set operator: no user is given", Remedy: "name a user of this machine"}
	}
	s.names.learn(user)
	_, err := s.change(func(next *state) error { return next.setOperator(user, in.GetAllowed()) })
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("operator set", slog.String("user", s.names.of(user)), slog.Bool("allowed", in.GetAllowed()))
	return &localv1.SetOperatorResponse{}, nil
}

func operatorOf(in *localv1.Operator) (localapi.User, bool) {
	switch {
	case in.GetSid() != "":
		return localapi.User{SID: in.GetSid()}, true
	case in != nil && in.Uid != nil:
		return localapi.User{UID: in.GetUid()}, true
	}
	return localapi.User{}, false
}

func (s *state) setOperator(user localapi.User, allowed bool) error {
	if allowed {
		if len(s.operators) >= maxOperators && !s.operator(user) {
			return &localapi.Error{
				Code: localapi.CodeUsage, Cause: fmt.Sprintf("set operator: there are %d already", len(s.operators)),
				Remedy: "remove one first: causeway operator remove",
			}
		}
		s.allow(user)
		return nil
	}
	s.forbid(user)
	return nil
}

// StoreOperator lets a user sign in, or no more, while no daemon runs; one that
// runs is told by the local API, and keeps us off its state until it ends.
func StoreOperator(stateDir string, user localapi.User, allowed bool) error {
	return withStored(stateDir, func(kept state) error {
		if err := kept.setOperator(user, allowed); err != nil {
			return fail(FailureState, "", "%w", err)
		}
		if err := saveState(stateDir, kept); err != nil {
			return fail(FailureState, "make room on the disk of the state directory", "%w", err)
		}
		return nil
	})
}

// StoredOperators are the users who may sign in, while no daemon runs.
func StoredOperators(stateDir string) ([]localapi.User, error) {
	var users []localapi.User
	err := withStored(stateDir, func(kept state) error { users = kept.operators; return nil })
	return users, err
}

func withStored(stateDir string, use func(state) error) error {
	dir, err := OpenStateDir(stateDir)
	if errors.Is(err, errLocked) {
		return fail(FailureState, runAsAdmin+"causeway operator ... (causewayd operator is for while the daemon does not run)", "use operators: the daemon runs")
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	kept, err := loadState(dir.Path)
	if err != nil {
		return err
	}
	return use(kept)
}
