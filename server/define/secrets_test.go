package define

import (
	"strings"
	"testing"
)

// TestMistakesDoNotTellSecrets: whatever is wrong around a secret, no problem has
// its text.
func TestMistakesDoNotTellSecrets(t *testing.T) {
	const secret, number = "hunter2", "123456"
	for _, document := range []string{
		"secrets: 123456", "secrets: [123456]", "secrets: [-123456.5]", "secrets: {123456: x}", "secrets:\n- name: a\n  env: A\n  value: [123456]",
		"secrets: hunter2", "secrets: A=hunter2", "secrets: [hunter2]", "secrets: [A=hunter2]", "secrets:\n- A=hunter2", "secrets:\n  a: hunter2",
		"secrets:\n- name: a\n  env: A\n  value: [hunter2]", "secrets:\n- name: a\n  env: A\n  value: {x: hunter2}", "secrets:\n- name: a\n  env: A\n  vaule: hunter2",
		"secrets:\n- name: a\n  env: A\n  value: \"hunter2\\0\"", "secrets:\n- name: a\n  env: A\n  value: \"hunter2", "secrets:\n- name: a\n  env: A\n  value: &hunter2 x",
		"secrets:\n- name: a\n  env: A\n  value: !hunter2 x", "secrets:\n- name: a\n  env: A\n  value: x: hunter2", "secrets:\n- name: a\n  env: A\n value: hunter2",
	} {
		_, err := Read([]byte("version: 1\n" + document + "\n"))
		if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), number) {
			t.Errorf("%q: %v", document, err)
		}
	}
}
