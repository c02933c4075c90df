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
