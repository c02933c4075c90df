package localapi

import "fmt"

// localSystem is the SID of the account that Windows services run as
// (well-known SIDs, SECURITY_LOCAL_SYSTEM_RID).
const localSystem = "S-1-5-18"

// User is a local user as the operating system names it: by UID on Unix, by SID
// on Windows. Users are compared with ==.
type User struct {
	UID uint32
	SID string // "" on Unix
}

// String is for messages.
func (u User) String() string {
	if u.SID != "" {
		return u.SID
	}
	return fmt.Sprintf("uid %d", u.UID)
}

// superuser says whether the system refuses this user nothing.
func (u User) superuser() bool {
	if u.SID != "" {
		return u.SID == localSystem
	}
	return u.UID == 0
}

// Caller is who is at the other end of a connection, as the kernel says.
type Caller struct {
	UID uint32
	PID int32 // for logs only: it may be another process by the time it is read
	// SID, Elevated and Session are of Windows: the user, whether the process
	// has the rights of an administrator, and the logon session it runs in.
	SID      string
	Elevated bool
	Session  uint32
}

// User is the caller without the process.
func (c Caller) User() User { return User{UID: c.UID, SID: c.SID} }
