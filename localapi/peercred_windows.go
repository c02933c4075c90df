package localapi

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

var impersonateNamedPipeClient = windows.NewLazySystemDLL("advapi32.dll").NewProc("ImpersonateNamedPipeClient")

// errNetworkLogon refuses who came over the network, although the pipe's access
// list and its mode (FILE_PIPE_REJECT_REMOTE_CLIENTS) do so already.
var errNetworkLogon = errors.New("read peer credentials: the caller is logged on over the network")

// peer asks the kernel who connected. The token is the one the client had when
// it opened the pipe, which a process number could not promise. Windows has it
// at once if the client asked for static tracking, as ours does; a program that
// did not is refused, for its token is unknown until it has sent something.
func peer(conn net.Conn) (Caller, error) {
	handle, err := pipeHandle(conn)
	if err != nil {
		return Caller{}, fmt.Errorf("read peer credentials: %w", err)
	}
	token, err := clientToken(handle)
	if err != nil {
		return Caller{}, fmt.Errorf("read peer credentials: %w", err)
	}
	defer token.Close()
	caller, err := describe(token)
	if err != nil {
		return Caller{}, fmt.Errorf("read peer credentials: %w", err)
	}
	if onNetwork, err := member(token, windows.WinNetworkSid); err != nil || onNetwork {
		return Caller{}, errors.Join(errNetworkLogon, err)
	}
	var pid uint32
	if err := windows.GetNamedPipeClientProcessId(handle, &pid); err == nil {
		caller.PID = int32(pid)
	}
	return caller, nil
}

// clientToken borrows the client's identity for as long as it takes to copy it.
func clientToken(pipe windows.Handle) (windows.Token, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if ok, _, err := impersonateNamedPipeClient.Call(uintptr(pipe)); ok == 0 {
		return 0, fmt.Errorf("ImpersonateNamedPipeClient: %w", err)
	}
	var token windows.Token
	err := windows.OpenThreadToken(windows.CurrentThread(), windows.TOKEN_QUERY, true, &token)
	if reverted := windows.RevertToSelf(); reverted != nil {
		// A thread that stays somebody else's would do the daemon's work in
		// that user's name; nothing could be relied on after it.
		fmt.Fprintf(os.Stderr, "causewayd: cannot leave a caller's identity: %v\n", reverted)
		os.Exit(1)
	}
	if err != nil {
		return 0, fmt.Errorf("OpenThreadToken: %w", err)
	}
	return token, nil
}

func describe(token windows.Token) (Caller, error) {
	user, err := token.GetTokenUser()
	if err != nil {
		return Caller{}, fmt.Errorf("read the user: %w", err)
	}
	elevated, err := member(token, windows.WinBuiltinAdministratorsSid)
	if err != nil {
		return Caller{}, err
	}
	caller := Caller{SID: user.User.Sid.String(), Elevated: elevated}
	var length uint32
	if err := windows.GetTokenInformation(token, windows.TokenSessionId,
		(*byte)(unsafe.Pointer(&caller.Session)), uint32(unsafe.Sizeof(caller.Session)), &length); err != nil {
		return Caller{}, fmt.Errorf("read the session: %w", err)
	}
	return caller, nil
}

// member says whether a group counts for the token: an administrator without
// elevation has that group for refusals only, and is none.
func member(token windows.Token, kind windows.WELL_KNOWN_SID_TYPE) (bool, error) {
	group, err := windows.CreateWellKnownSid(kind)
	if err != nil {
		return false, fmt.Errorf("make well-known SID %d: %w", kind, err)
	}
	is, err := token.IsMember(group)
	if err != nil {
		return false, fmt.Errorf("read the membership of %s: %w", group, err)
	}
	return is, nil
}
