package service

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// rule is who may call; it is asked at each call.
func (s *Service) rule() localapi.Rule {
	return localapi.Rule{
		Daemon: s.user,
		Owner: func() (localapi.User, bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.state.holder()
		},
		Operator: func(user localapi.User) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.state.operator(user)
		},
		Name: s.names.of,
	}
}

// ruleIn is the rule as of one state.
func (s *Service) ruleIn(now state) localapi.Rule {
	return localapi.Rule{Daemon: s.user, Owner: now.holder, Operator: now.operator, Name: s.names.of}
}

// errNoCaller means that a handler was called by nobody.
var errNoCaller = errors.New("the caller is unknown")

// asking is who asks for something.
type asking struct {
	user  localapi.User
	admin bool
}

func (s *Service) asking(ctx context.Context) (asking, error) {
	caller, known := localapi.CallerFrom(ctx)
	if !known {
		return asking{}, errNoCaller
	}
	return asking{user: caller.User(), admin: s.rule().Privileged(caller)}, nil
}

// pick finds the profile that a caller means. "" is the active one if it is the
// caller's, else the one that the caller used last; for an administrator who has
// none, the active one. An administrator may name another user's by OWNER/NAME,
// or by the name alone if it is the only one.
func (s *Service) pick(now state, who asking, name string) (*Profile, error) {
	own := now.of(who.user)
	switch active := now.profile(); {
	case name == "" && active != nil && active.Owner == who.user:
		return active, nil
	case name == "" && who.admin && active != nil:
		return active, nil
	case name == "" && len(own) > 0:
		return &own[0], nil
	case name == "":
		return nil, nil
	}
	if p := now.named(who.user, name); p != nil {
		return p, nil
	}
	if who.admin {
		return s.pickAny(now, name)
	}
	return nil, unknownProfile(name)
}

func (s *Service) pickAny(now state, name string) (*Profile, error) {
	owner, plain, qualified := strings.Cut(name, "/")
	if !qualified {
		plain = name
	}
	var found []*Profile
	for i, p := range now.profiles {
		if p.Name == plain && (!qualified || owner == s.names.of(p.Owner) || owner == number(p.Owner)) {
			found = append(found, &now.profiles[i])
		}
	}
	switch len(found) {
	case 0:
		return nil, unknownProfile(name)
	case 1:
		return found[0], nil
	}
	return nil, &localapi.Error{
		Code: localapi.CodeUsage, Cause: fmt.Sprintf("find profile %q: %d users have one of that name", plain, len(found)),
		Remedy: fmt.Sprintf("name its owner too: %s/%s", s.names.handle(found[0].Owner), plain),
	}
}

func unknownProfile(name string) error {
	return &localapi.Error{
		Code: localapi.CodeNotFound, Cause: fmt.Sprintf("find profile %q: there is none of that name", quoteForeign(name)),
		Remedy: "see: causeway profile list",
	}
}

// mayTake says whether the caller may give the machine's tunnel to a profile:
// to one of the user who has it, or while that user does not want it up. Else
// an administrator may, who says so.
func (s *Service) mayTake(now state, who asking, wanted Profile, takeOver bool) error {
	if takeOver && !who.admin {
		return &localapi.Error{
			Code: localapi.CodePermission, Cause: "take the tunnel over: only an administrator may",
			Remedy: fmt.Sprintf(runAsAdmin+"causeway up --take-over --profile %s/%s", s.names.handle(wanted.Owner), wanted.Name),
		}
	}
	holder, up := now.heldUp()
	if !up || holder == wanted.Owner || takeOver {
		return nil
	}
	name := s.names.of(holder)
	return &localapi.Error{
		Code:  localapi.CodePermission,
		Cause: fmt.Sprintf("use profile %q: %s has this machine's tunnel, and it is up", wanted.Name, name),
		Remedy: fmt.Sprintf("ask %s to run: causeway down; or "+asAdmin+"causeway up --take-over --profile %s/%s",
			name, s.names.handle(wanted.Owner), wanted.Name),
	}
}

// readsSince is from when on the caller may see what the daemon has noted, such
// as its log: an administrator all, who has the tunnel only what was noted since
// it is theirs. Whether the caller may read at all is decided before.
func (s *Service) readsSince(ctx context.Context) time.Time {
	if caller, known := localapi.CallerFrom(ctx); known && s.rule().Privileged(caller) {
		return time.Time{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heldSince
}

// statusFor is the status as one caller may see it: what it says and who may
// see it are of the same moment.
func (s *Service) statusFor(ctx context.Context) *localv1.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.statusLocked()
	if caller, known := localapi.CallerFrom(ctx); !known || !s.ruleIn(s.state).Reads(caller) {
		return summary(status)
	}
	status.View = localv1.View_FULL
	return status
}

// summary is what every local user may know: whether there is a tunnel, and
// whose. Fields are taken over one by one, so that a new one is not shown before
// somebody has thought about it.
func summary(full *localv1.Status) *localv1.Status {
	out := &localv1.Status{
		State: full.GetState(), WantedUp: full.GetWantedUp(), Version: full.GetVersion(),
		Owner: full.GetOwner(), OwnerSid: full.GetOwnerSid(), View: localv1.View_SUMMARY,
	}
	if full.OwnerUid != nil {
		out.OwnerUid = proto.Uint32(full.GetOwnerUid())
	}
	return out
}

// nameLimit is how long a change waits for the system to say what a user is
// called: it may ask a directory that does not answer.
const nameLimit = 250 * time.Millisecond

// userNames remembers what the system calls its users.
type userNames struct {
	lookup func(localapi.User) (string, error)
	found  func() // hears of each name; does not block

	mu    sync.Mutex
	known map[localapi.User]string
	asked map[localapi.User]chan struct{} // closed when the system has answered
}

// of is the user's name, or its number while that is not known. It never waits.
func (n *userNames) of(user localapi.User) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name := n.known[user]; name != "" {
		return name
	}
	return user.String()
}

// handle is what an administrator names the user by on a command line.
func (n *userNames) handle(user localapi.User) string {
	if name := n.of(user); name != user.String() {
		return name
	}
	return number(user)
}

// number is the user's UID or SID alone.
func number(user localapi.User) string {
	if user.SID != "" {
		return user.SID
	}
	return strconv.FormatUint(uint64(user.UID), 10)
}

// learn asks for names that are not known, and waits a moment for the answers;
// what comes later is there later.
func (n *userNames) learn(users ...localapi.User) {
	limit := time.NewTimer(nameLimit)
	defer limit.Stop()
	for _, user := range users {
		select {
		case <-n.ask(user):
		case <-limit.C:
			return
		}
	}
}

func (n *userNames) ask(user localapi.User) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if answered, asked := n.asked[user]; asked {
		return answered
	}
	if n.asked == nil {
		n.known, n.asked = map[localapi.User]string{}, map[localapi.User]chan struct{}{}
	}
	answered := make(chan struct{})
	n.asked[user] = answered
	go func() {
		name, err := n.lookup(user)
		n.mu.Lock()
		if err == nil {
			n.known[user] = plainName(name)
		} else {
			delete(n.asked, user) // ask again at the next change
		}
		n.mu.Unlock()
		close(answered)
		if err == nil {
			n.found()
		}
	}()
	return answered
}

// plainName leaves out what does not belong on a terminal.
func plainName(name string) string { return quoteForeign(name) }

// lookupUser asks the system.
func lookupUser(who localapi.User) (string, error) { return who.Name(context.Background()) }
