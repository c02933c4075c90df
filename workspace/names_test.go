package workspace

import "testing"

func TestEveryByteInALabel(t *testing.T) {
	for c := range 256 {
		b := byte(c)
		letter := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
		digit := '0' <= b && b <= '9'
		want := letter || digit || b == '-' || b == '_'
		if err := checkLabel(string([]byte{b})); (err == nil) != want {
			t.Errorf("%q: %v, want it taken: %t", b, err, want)
		}
	}
}
