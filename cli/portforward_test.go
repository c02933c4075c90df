package cli

import (
	"errors"
	"testing"
)

func TestParseForward(t *testing.T) {
	for spec, want := range map[string]string{
		"80": "80:localhost:80", "8080:80": "8080:localhost:80", "8080:db:80": "8080:db:80", "0.0.0.0:1:db:2": "0.0.0.0:1:db:2",
		"[::1]:1:[fd00::2]:3": "[::1]:1:[fd00::2]:3", "*:1:a_b-c.d:65535": "*:1:a_b-c.d:65535", "1:[::1]:2": "1:[::1]:2",
		"": "", "x": "", "0": "", "65536": "", "-1": "", "1:2:3:4:5": "", ":1:a:2": "", "1::2": "", "1:a b:2": "", "1:$(x):2": "", "1:-o:2": "", "1:*:2": "",
		"[::1:1:a:2": "", "[a]:1:b:2": "", "[::1]x:1:b:2": "", "[1.2.3.4]:1:b:2": "", "1:`x`:2": "", "1:a;b:2": "", "1:%h:2": "", "1:a:2:": "", "[fe80::1%eth0]:1:a:2": "",
	} {
		f, err := parseForward(spec)
		var usage *usageError
		if want == "" && !errors.As(err, &usage) || want != "" && (err != nil || f.spec() != want) {
			t.Errorf("parseForward(%q) = %q, %v, want %q", spec, f.spec(), err, want)
		}
	}
}

func TestCutRemote(t *testing.T) {
	for operand, want := range map[string][2]string{
		"a:b": {"a", "b"}, "u@a:": {"u@a", ""}, "[fd00::1]:x:y": {"[fd00::1]", "x:y"}, "u@[::1]:x": {"u@[::1]", "x"}, "a:/b:c": {"a", "/b:c"},
		"a": {}, "./a:b": {}, "/a:b": {}, ":a": {}, "": {}, "-": {}, "d[1]:x": {"d[1]", "x"},
	} {
		target, path, ok := cutRemote(operand)
		if target != want[0] || path != want[1] || ok != (want[0] != "") {
			t.Errorf("cutRemote(%q) = %q, %q, %v", operand, target, path, ok)
		}
	}
}
