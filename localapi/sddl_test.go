package localapi

import (
	"fmt"
	"testing"
)

func TestPipeDescriptor(t *testing.T) {
	const want = "O:BAG:BAD:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019b;;;AU)"
	if got := apiSecurity.descriptor(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := (pipeSecurity{}).descriptor(); got != "O:BAG:BAD:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)" {
		t.Errorf("without clients: %s", got)
	}
	// FILE_CREATE_PIPE_INSTANCE is FILE_APPEND_DATA.
	if text := fmt.Sprintf("%#x", clientAccess); text != string(pipeClient) || clientAccess&0x4 != 0 {
		t.Errorf("client access %s", text)
	}
}

// TestTrustedOwner: a client tells its token to nobody's pipe but these.
func TestTrustedOwner(t *testing.T) {
	own := User{SID: "S-1-5-21-1-2-3-1001"}
	for owner, want := range map[string]bool{
		localSystem: true, administrators: true, own.SID: true, "": false, "S-1-5-21-1-2-3-1002": false, "S-1-5-20": false, "S-1-5-32-545": false,
	} {
		if got := trustedOwner(owner, own); got != want {
			t.Errorf("%q: %v", owner, got)
		}
	}
	if trustedOwner("", User{}) {
		t.Error("an owner that could not be read is trusted")
	}
}
