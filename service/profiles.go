package service

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// ListProfiles tells a user's own profiles, and an administrator all.
func (s *Service) ListProfiles(ctx context.Context, _ *localv1.ListProfilesRequest) (*localv1.ListProfilesResponse, error) {
	who, err := s.asking(ctx)
	if err != nil {
		return nil, fmt.Errorf("list profiles: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &localv1.ListProfilesResponse{}
	for _, p := range s.state.profiles {
		if who.admin || p.Owner == who.user {
			out.Profiles = append(out.Profiles, s.profileMessage(p, p.ID == s.state.active))
		}
	}
	slices.SortFunc(out.Profiles, func(a, b *localv1.Profile) int {
		return cmp.Or(cmp.Compare(a.GetOwner(), b.GetOwner()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out, nil
}

// profileMessage shows no secret: of headers the names, of a proxy the address.
func (s *Service) profileMessage(p Profile, active bool) *localv1.Profile {
	out := &localv1.Profile{
		Name: p.Name, Url: p.URL.Redacted(), User: p.User, Active: active, SignedIn: p.signedIn(),
		Owner: s.names.of(p.Owner), OwnerSid: p.Owner.SID, ConnectAt: localv1.ConnectAt_BOOT,
		TokenExpiresAt: timeMessage(p.Expires), HeaderNames: p.Headers.Names(), Proxy: withoutUser(p.proxyText()), OwnCa: p.CA != "",
	}
	if p.Owner.SID == "" {
		out.OwnerUid = proto.Uint32(p.Owner.UID)
	}
	if p.AtLogin {
		out.ConnectAt = localv1.ConnectAt_LOGIN
	}
	return out
}

// UseProfile gives the machine's tunnel to a profile; up or down stays.
func (s *Service) UseProfile(ctx context.Context, in *localv1.UseProfileRequest) (*localv1.UseProfileResponse, error) {
	who, err := s.asking(ctx)
	if err != nil {
		return nil, fmt.Errorf("use profile: %w", err)
	}
	if in.GetName() == "" {
		return nil, &localapi.Error{Code: localapi.CodeUsage, Cause: "use profile: no name is given", Remedy: "see: causeway profile list"}
	}
	var used Profile
	number, err := s.change(func(next *state) error {
		p, err := s.pick(*next, who, in.GetName())
		if err != nil {
			return err
		}
		if err := s.mayTake(*next, who, *p, in.GetTakeOver()); err != nil {
			return err
		}
		used = *p
		next.activate(used)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.logUse(used, in.GetTakeOver())
	if err := s.settle(ctx, number); err != nil {
		return nil, fmt.Errorf("wait for the tunnel to change: %w", err)
	}
	return &localv1.UseProfileResponse{}, nil
}

func (s *Service) logUse(p Profile, takenOver bool) {
	s.config.Logger.Info("profile in use", slog.String("profile", p.Name), slog.String("owner", s.names.of(p.Owner)), slog.Bool("taken_over", takenOver))
}

// RenameProfile gives a profile another name.
func (s *Service) RenameProfile(ctx context.Context, in *localv1.RenameProfileRequest) (*localv1.RenameProfileResponse, error) {
	who, err := s.asking(ctx)
	if err != nil {
		return nil, fmt.Errorf("rename profile: %w", err)
	}
	if err := checkName(in.GetNewName()); err != nil {
		return nil, &localapi.Error{Code: localapi.CodeUsage, Cause: "rename profile: " + err.Error(), Remedy: "choose another name"}
	}
	// A sign-in that is being checked has chosen its profile's name already.
	s.verifying.Lock()
	defer s.verifying.Unlock()
	_, err = s.change(func(next *state) error {
		p, err := s.pick(*next, who, in.GetName())
		switch {
		case err != nil:
			return err
		case p == nil:
			return unknownProfile(in.GetName())
		case p.Name != in.GetNewName() && next.named(p.Owner, in.GetNewName()) != nil:
			return &localapi.Error{
				Code: localapi.CodeUsage, Cause: fmt.Sprintf("rename profile %q: there is one called %q already", p.Name, in.GetNewName()),
				Remedy: "choose another name",
			}
		}
		renamed := *p
		renamed.Name = in.GetNewName()
		next.put(renamed)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &localv1.RenameProfileResponse{}, nil
}

// RemoveProfile signs out and forgets the profile with all that it holds.
func (s *Service) RemoveProfile(ctx context.Context, in *localv1.RemoveProfileRequest) (*localv1.RemoveProfileResponse, error) {
	who, err := s.asking(ctx)
	if err != nil {
		return nil, fmt.Errorf("remove profile: %w", err)
	}
	if in.GetName() == "" {
		return nil, &localapi.Error{Code: localapi.CodeUsage, Cause: "remove profile: no name is given", Remedy: "see: causeway profile list"}
	}
	s.verifying.Lock()
	defer s.verifying.Unlock()
	var removed Profile
	number, err := s.change(func(next *state) error {
		p, err := s.pick(*next, who, in.GetName())
		if err != nil {
			return err
		}
		removed = *p
		next.remove(p.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("profile removed", slog.String("profile", removed.Name), slog.String("owner", s.names.of(removed.Owner)))
	if err := s.stopped(ctx, number); err != nil {
		return nil, err
	}
	return &localv1.RemoveProfileResponse{}, nil
}
