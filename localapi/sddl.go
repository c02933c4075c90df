package localapi

import "strings"

// trustee is a SID as SDDL abbreviates it (MS-DTYP 2.4.2.5, "SID strings").
type trustee string

const (
	sddlSystem         trustee = "SY" // LocalSystem
	sddlAdministrators trustee = "BA"
	sddlUsers          trustee = "AU" // everybody who has signed in
	sddlNetwork        trustee = "NU" // who has signed in over the network
)

// pipeAccess is what an entry of the access list is about.
type pipeAccess string

const (
	// pipeFull is GENERIC_ALL.
	pipeFull pipeAccess = "GA"
	// pipeClient is FILE_GENERIC_READ (0x120089) with FILE_WRITE_DATA (0x2),
	// FILE_WRITE_EA (0x10) and FILE_WRITE_ATTRIBUTES (0x100). GENERIC_WRITE
	// would have FILE_CREATE_PIPE_INSTANCE (0x4) too, with which a client could
	// serve the pipe itself.
	pipeClient pipeAccess = "0x12019b"
)

// clientAccess is pipeClient as the mask that a client asks for.
const clientAccess = 0x12019b

// pipeSecurity is who may connect to a pipe. It cannot express a pipe without
// an access list, one that passes inherited entries on, one that clients can
// serve, or one that is open to the network.
type pipeSecurity struct {
	// clients may read and write.
	clients []trustee
}

// descriptor is the SDDL: administrators own it, since LocalSystem is one, and a
// daemon in the foreground can name no other; the list is protected; refusals
// come first, which is the order in which Windows reads it.
func (p pipeSecurity) descriptor() string {
	var list strings.Builder
	entry := func(kind string, access pipeAccess, who trustee) {
		list.WriteString("(" + kind + ";;" + string(access) + ";;;" + string(who) + ")")
	}
	entry("D", pipeFull, sddlNetwork)
	entry("A", pipeFull, sddlSystem)
	entry("A", pipeFull, sddlAdministrators)
	for _, who := range p.clients {
		entry("A", pipeClient, who)
	}
	return "O:" + string(sddlAdministrators) + "G:" + string(sddlAdministrators) + "D:P" + list.String()
}

// apiSecurity lets everybody on this machine connect: what they may is the
// [Rule]'s decision, call by call, as it is with the socket.
var apiSecurity = pipeSecurity{clients: []trustee{sddlUsers}}

// administrators is the SID of BUILTIN\Administrators.
const administrators = "S-1-5-32-544"

// trustedOwner says whether a client may believe a pipe of this owner: the
// system's, an administrator's, or one that it could read the memory of anyway.
func trustedOwner(owner string, own User) bool {
	return owner == localSystem || owner == administrators || owner != "" && owner == own.SID
}
