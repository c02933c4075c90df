//go:build unix

package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTokenCommand: what it prints is the token, and nothing else of it is ever
// shown.
func TestTokenCommand(t *testing.T) {
	t.Setenv(TokenVariable, "of-the-environment")
	dir := t.TempDir()
	script := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct{ text, want, says string }{
		"prints":   {`echo " s3cret-$1 "; echo s3cret >&2`, "s3cret-$(x)", ""},
		"hidden":   {`echo "none$` + TokenVariable + `"`, "none", ""},
		"fails":    {`echo s3cret; echo s3cret >&2; exit 3`, "", "exit status 3"},
		"empty":    {`true`, "", "it is empty"},
		"words":    {`echo s3cret s3cret`, "", "characters that no token has"},
		"endless":  {`exec cat /dev/zero`, "", "or too many"},
		"detached": {`sleep 60 & echo s3cret`, "", "WaitDelay"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			token, err := TokenCommand(script(name, test.text), "$(x)")(context.Background())
			if string(token) != test.want || (err == nil) != (test.says == "") {
				t.Fatalf("%q, %v", string(token), err)
			}
			if err != nil && (!strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "s3cret")) {
				t.Errorf("%v", err)
			}
			if took := time.Since(began); took > tokenTime {
				t.Errorf("after %s", took)
			}
		})
	}
	t.Run("hangs", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := TokenCommand("sleep", "60")(ctx); err == nil || !strings.Contains(err.Error(), "in time") {
			t.Errorf("%v", err)
		}
	})
	if _, err := TokenCommand("no-such-program-of-causeway")(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
