package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDiagnoseAdapter(t *testing.T) {
	for _, test := range []struct {
		err   error
		kind  error
		cause string
	}{
		{syscall.Errno(errorAccessDenied), ErrNoPermission, "administrators"},
		{syscall.Errno(errorPrivilegeNotHeld), ErrNoPermission, "administrators"},
		{fmt.Errorf("Error creating interface: %w", syscall.Errno(errorAlreadyExists)), ErrNameTaken, "another adapter"},
		{syscall.Errno(errorObjectAlreadyExists), ErrNameTaken, "another adapter"},
		{syscall.Errno(errorInvalidImageHash), ErrNoDevice, "signature"},
		{syscall.Errno(errorDriverBlocked), ErrNoDevice, "signature"},
		{syscall.Errno(errorCertUntrustedRoot), ErrNoDevice, "signature"},
		{syscall.Errno(errorInWow64), ErrNoDevice, "another processor"},
		{syscall.Errno(errorServiceDisabled), ErrNoDevice, "service"},
		{syscall.Errno(errorServiceNotActive), ErrNoDevice, "service"},
		{syscall.Errno(errorDriverStoreAddFailed), ErrNoDevice, "could not be installed"},
		{syscall.Errno(errorProcNotFound), ErrNoDevice, "lacks a function"},
		{syscall.Errno(87), ErrFailed, "refused to make"},
		{errors.New("no number"), ErrFailed, "refused to make"},
	} {
		got := diagnoseAdapter("Causeway", test.err)
		if !errors.Is(got, test.kind) || !errors.Is(got, test.err) || !strings.Contains(got.Cause, test.cause) || got.Remedy == "" {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}

func TestDiagnoseLibrary(t *testing.T) {
	const path = `C:\Program Files\Causeway\wintun.dll`
	for _, test := range []struct {
		err   error
		kind  error
		cause string
	}{
		{&fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}, ErrNoDevice, "is missing"},
		{syscall.Errno(errorModNotFound), ErrNoDevice, "is missing"},
		{syscall.Errno(errorBadExeFormat), ErrNoDevice, "another processor"},
		{syscall.Errno(errorAccessDenied), ErrNoPermission, "may not read"},
		{fmt.Errorf("%w: %s has the SHA-256 sum 00", ErrUntrusted, path), ErrUntrusted, "SHA-256 sum 00"},
		{syscall.Errno(1260), ErrNoDevice, "refused to load"},
	} {
		got := diagnoseLibrary("Causeway", path, test.err)
		if !errors.Is(got, test.kind) || !strings.Contains(got.Cause, test.cause) || !strings.Contains(got.Cause, path) || got.Remedy == "" {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}

func TestBootPolicy(t *testing.T) {
	passing := diagnoseAdapter("Causeway", syscall.Errno(errorServiceNotActive))
	var waits []time.Duration
	var elapsed time.Duration
	for attempt := 1; ; attempt++ {
		wait, again := atBoot.wait(attempt, time.Minute, elapsed, passing)
		if !again {
			break
		}
		waits, elapsed = append(waits, wait), elapsed+wait
		elapsed += 100 * time.Millisecond // the attempt itself
	}
	want := []time.Duration{}
	for range 15 {
		want = append(want, time.Second)
	}
	want = append(want, 2*time.Second, 4*time.Second, 8*time.Second, 16*time.Second)
	for i, w := range want {
		if i >= len(waits) || waits[i] != w {
			t.Fatalf("waits %v, want to begin with %v", waits, want)
		}
	}
	if last := waits[len(waits)-1]; last != atBoot.most || elapsed > atBoot.deadline+3*time.Second || elapsed < atBoot.deadline-atBoot.most {
		t.Errorf("the last wait is %v, the end comes after %v", last, elapsed)
	}
	if _, again := atBoot.wait(1, time.Minute, 0, diagnoseAdapter("Causeway", syscall.Errno(errorFileNotFound))); !again {
		t.Error("a driver whose device is not there yet is given up")
	}
	for name, test := range map[string]struct {
		uptime time.Duration
		err    *Error
	}{
		"long after the boot": {11 * time.Minute, passing},
		"no permission":       {time.Minute, diagnoseAdapter("", syscall.Errno(errorAccessDenied))},
		"no library":          {time.Minute, diagnoseLibrary("", "x", syscall.Errno(errorModNotFound))},
		"planted library":     {time.Minute, diagnoseLibrary("", "x", ErrUntrusted)},
		"wrong processor":     {time.Minute, diagnoseAdapter("", syscall.Errno(errorInWow64))},
	} {
		if _, again := atBoot.wait(1, test.uptime, 0, test.err); again {
			t.Errorf("%s: tried again", name)
		}
	}
}

func TestWintunNames(t *testing.T) {
	for name, want := range map[string]bool{"Causeway": true, "": false, strings.Repeat("x", 127): true, strings.Repeat("x", 128): false} {
		if err := checkWintunName(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	for arch, sum := range wintunSums {
		if len(sum) != 64 {
			t.Errorf("%s: %q is no SHA-256 sum", arch, sum)
		}
	}
}
