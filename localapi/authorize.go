package localapi

import (
	"context"
	"fmt"
)

// Access is what a call asks for.
type Access int

// The kinds of access, from least to most.
const (
	// Public is for every local user: the daemon's version.
	Public Access = iota + 1
	// Read tells what the tunnel does and whom it reaches.
	Read
	// Operate changes what the tunnel does.
	Operate
	// Admin changes who may, and what concerns the machine.
	Admin
)

// Authorize decides about one call; its error is sent to the caller.
type Authorize func(Caller, Access) error

// Rule is the rule of who may: root (on Windows LocalSystem, and processes with
// the rights of an administrator) and the daemon's own user everything, the
// owner (who signed in) everything too, others only what is public.
type Rule struct {
	Daemon User
	// Owner is the user who signed in; false before that.
	Owner func() (User, bool)
}

// Authorize is the rule as the server wants it.
func (r Rule) Authorize(caller Caller, access Access) error {
	if access == Public || r.Privileged(caller) {
		return nil
	}
	owner, signedIn := r.Owner()
	switch {
	case signedIn && owner == caller.User() && access != Admin:
		return nil
	case signedIn:
		return &Error{
			Code:   CodePermission,
			Cause:  fmt.Sprintf("call the daemon: the tunnel belongs to the user with %s, and you are %s", owner, caller.User()),
			Remedy: runAsRoot,
		}
	default:
		return &Error{
			Code:   CodePermission,
			Cause:  fmt.Sprintf("call the daemon: nobody has signed in yet, and %s is not root", caller.User()),
			Remedy: runAsRoot + "; " + signInAs,
		}
	}
}

// Privileged says whether the caller is root or the daemon's own user.
func (r Rule) Privileged(caller Caller) bool {
	user := caller.User()
	return user.superuser() || user == r.Daemon || user.SID != "" && caller.Elevated
}

// access lists every call of the API. A call that is missing here is refused,
// so that a new one cannot be open by accident; a test holds it complete.
var access = map[string]Access{
	"/causeway.local.v1.Local/GetVersion":  Public,
	"/causeway.local.v1.Local/GetStatus":   Read,
	"/causeway.local.v1.Local/WatchStatus": Read,
	"/causeway.local.v1.Local/Ping":        Read,
	"/causeway.local.v1.Local/QueryDNS":    Read,
	"/causeway.local.v1.Local/Examine":     Read,
	"/causeway.local.v1.Local/Login":       Operate,
	"/causeway.local.v1.Local/Logout":      Operate,
	"/causeway.local.v1.Local/Up":          Operate,
	"/causeway.local.v1.Local/Down":        Operate,

	"/causeway.local.v1.Local/ListProfiles":  Operate,
	"/causeway.local.v1.Local/UseProfile":    Operate,
	"/causeway.local.v1.Local/RenameProfile": Operate,
	"/causeway.local.v1.Local/RemoveProfile": Operate,
	"/causeway.local.v1.Local/ListOperators": Admin,
	"/causeway.local.v1.Local/SetOperator":   Admin,
	"/causeway.local.v1.Local/GetSettings":   Read,
	"/causeway.local.v1.Local/SetSettings":   Operate,
	"/causeway.local.v1.Local/WatchLogs":     Read,
	"/causeway.local.v1.Local/SetLogLevel":   Operate,
	"/causeway.local.v1.Local/GetMetrics":    Read,
	"/causeway.local.v1.Local/CollectBundle": Operate,
	"/causeway.local.v1.Local/ListChanges":   Read,
	"/causeway.local.v1.Local/RepairNames":   Operate,
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
