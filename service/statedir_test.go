package service

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// A daemon that was killed may have a child for a moment that still has the lock.
func TestLockOfDyingDaemonIsWaitedFor(t *testing.T) {
	for _, test := range []struct {
		name string
		held time.Duration
		ok   bool
	}{
		{"for a moment", 300 * time.Millisecond, true},
		{"by one that lives", time.Minute, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			first, err := OpenStateDir(path)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				closed := make(chan error, 1)
				time.AfterFunc(test.held, func() { closed <- first.Close() })
				second, err := OpenStateDir(path)
				if took := time.Since(began); took > lockDeadline {
					t.Errorf("it took %v", took)
				}
				if (err == nil) != test.ok {
					t.Errorf("the second: %v", err)
				}
				if err == nil {
					second.Close()
				}
				if err := <-closed; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
