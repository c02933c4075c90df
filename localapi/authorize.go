package localapi

import (
	"context"
	"fmt"
)

// Access is what a call asks for.
type Access int

// The kinds of access, from least to most.
const (
	// Public is for every local user: the daemon's version, whose the tunnel is
	// and whether it works. Handlers leave the rest of a status out.
	Public Access = iota + 1
	// Read tells what the tunnel does and whom it reaches: for who has it.
	Read
	// Operate signs in, and keeps and uses profiles of one's own: for operators.
	// Handlers see to it that nobody's tunnel is taken away.
	Operate
	// Steer changes what the tunnel that is there does: for who has it.
	Steer
	// Admin changes who may, and what concerns the machine.
	Admin
)

// Authorize decides about one call; its error is sent to the caller.
type Authorize func(Caller, Access) error

// Rule is the rule of who may. Root (on Windows LocalSystem, and processes with
// the rights of an administrator) and the daemon's own user may everything.
// Operators may sign in and keep profiles; the one whose profile is the active
// one has the tunnel. While nobody has it, it is every operator's. Others may
// only what is public.
type Rule struct {
	Daemon User
	// Owner is the user who has the tunnel; false: nobody has.
	Owner func() (User, bool)
	// Operator says who may sign in; nil: nobody besides the administrators.
	Operator func(User) bool
	// Name is what people call a user; nil: by number.
	Name func(User) string
}

// Authorize is the rule as the server wants it.
func (r Rule) Authorize(caller Caller, access Access) error {
	user := caller.User()
	if access == Public || r.Privileged(caller) {
		return nil
	}
	operator := r.Operator != nil && r.Operator(user)
	owner, held := r.Owner()
	has := held && owner == user || !held && operator
	switch {
	case access == Read && has, access == Operate && operator, access == Steer && has && operator:
		return nil
	}
	denied := &Error{Code: CodePermission, Remedy: runAsRoot}
	switch {
	case access == Admin:
		denied.Cause = fmt.Sprintf("call the daemon: only an administrator may do this, and %s is none", r.name(user))
	case !operator && (access != Read || !held):
		denied.Cause = fmt.Sprintf("call the daemon: %s is no operator of causeway on this machine", r.name(user))
		denied.Remedy = runAsRoot + "; " + becomeOperator
	default:
		denied.Cause = fmt.Sprintf("call the daemon: the tunnel belongs to %s, and you are %s", r.name(owner), r.name(user))
	}
	return denied
}

func (r Rule) name(user User) string {
	if r.Name == nil {
		return user.String()
	}
	return r.Name(user)
}

// Reads says whether the caller may know what the tunnel does, in words that a
// handler decides by what it shows.
func (r Rule) Reads(caller Caller) bool { return r.Authorize(caller, Read) == nil }

// Privileged says whether the caller is root or the daemon's own user.
func (r Rule) Privileged(caller Caller) bool {
	user := caller.User()
	return user.superuser() || user == r.Daemon || user.SID != "" && caller.Elevated
}

// access lists every call of the API. A call that is missing here is refused,
// so that a new one cannot be open by accident; a test holds it complete.
var access = map[string]Access{
	"/causeway.local.v1.Local/GetVersion":  Public,
	"/causeway.local.v1.Local/GetStatus":   Public,
	"/causeway.local.v1.Local/WatchStatus": Public,
	"/causeway.local.v1.Local/Ping":        Read,
	"/causeway.local.v1.Local/QueryDNS":    Read,
	"/causeway.local.v1.Local/Examine":     Read,
	"/causeway.local.v1.Local/Login":       Operate,
	"/causeway.local.v1.Local/Logout":      Operate,
	"/causeway.local.v1.Local/Up":          Operate,
	"/causeway.local.v1.Local/Down":        Steer,

	"/causeway.local.v1.Local/ListProfiles":  Operate,
	"/causeway.local.v1.Local/UseProfile":    Operate,
	"/causeway.local.v1.Local/RenameProfile": Operate,
	"/causeway.local.v1.Local/RemoveProfile": Operate,
	"/causeway.local.v1.Local/ListOperators": Admin,
	"/causeway.local.v1.Local/SetOperator":   Admin,
	"/causeway.local.v1.Local/GetSettings":   Read,
	"/causeway.local.v1.Local/SetSettings":   Steer,
	"/causeway.local.v1.Local/WatchLogs":     Read,
	"/causeway.local.v1.Local/SetLogLevel":   Steer,
	"/causeway.local.v1.Local/GetMetrics":    Read,
	"/causeway.local.v1.Local/CollectBundle": Steer,
	"/causeway.local.v1.Local/ListChanges":   Read,
	"/causeway.local.v1.Local/RepairNames":   Steer,
}

type callerKey struct{}

// CallerFrom tells a handler who calls; false outside a call of [Serve].
func CallerFrom(ctx context.Context) (Caller, bool) {
	caller, ok := ctx.Value(callerKey{}).(Caller)
	return caller, ok
}

// WithCaller is the context of a call by that caller, for tests of handlers.
func WithCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}
