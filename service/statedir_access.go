package service

import "slices"

// The SIDs of who may own and read the state directory on Windows: LocalSystem
// and the administrators.
const (
	sidSystem         = "S-1-5-18"
	sidAdministrators = "S-1-5-32-544"
)

// stateAccess is the access list of the state directory as Windows writes it
// (SDDL): protected, so that nothing is inherited from a directory in which every
// user may make files, and passed on to all that comes into it. A process without
// an administrator's rights, as in tests, is added, or it would lock itself out.
func stateAccess(own string, elevated bool) string {
	list := "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
	if own != sidSystem && !elevated {
		list += "(A;OICI;FA;;;" + own + ")"
	}
	return list
}

// trustedOwner says whether what is in a directory of this owner can be believed:
// every user may make a directory where ours belongs, before us.
func trustedOwner(owner, own string) bool {
	return owner != "" && slices.Contains([]string{sidSystem, sidAdministrators, own}, owner)
}
