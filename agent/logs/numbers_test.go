package logs

import "testing"

// TestNumbers are the protocol's (5.6): who counts another way than the control
// plane is refused, or wastes room.
func TestNumbers(t *testing.T) {
	if Limit != 1048576 || Overhead != 21 {
		t.Errorf("a batch has %d bytes, a line %d more than its text", Limit, Overhead)
	}
}
