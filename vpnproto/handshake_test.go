package vpnproto

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// heard is a stream of what the other side says; a write is not its business.
type heard struct{ io.Reader }

func (heard) Close() error { return nil }

// said keeps what we say.
type said struct{ bytes.Buffer }

func (*said) Close() error { return nil }

// TestHandshake is the table of 4.2.
func TestHandshake(t *testing.T) {
	limit := strings.Repeat("x", 256)
	for name, test := range map[string]struct {
		ours     Role
		versions Versions
		header   string
		chosen   Version
		failure  string // empty: none
		invalid  bool   // a failure of what it says, not of its form
	}{
		"the same":                {RoleTunnel, Supported, "codervpn manager 1.3\n", Version{1, 3}, "", false},
		"older manager":           {RoleTunnel, Supported, "codervpn manager 1.1\n", Version{1, 1}, "", false},
		"newer manager":           {RoleTunnel, Supported, "codervpn manager 1.9,2.4\n", Version{1, 3}, "", false},
		"highest major":           {RoleTunnel, Versions{{1, 3}, {2, 1}}, "codervpn manager 1.1,2.4,3.0\n", Version{2, 1}, "", false},
		"manager to tunnel":       {RoleManager, Supported, "codervpn tunnel 1.0\n", Version{1, 0}, "", false},
		"service to client":       {RoleService, Supported, "codervpn client 1.2\n", Version{1, 2}, "", false},
		"client to service":       {RoleClient, Supported, "codervpn service 1.2\n", Version{1, 2}, "", false},
		"no common major":         {RoleTunnel, Supported, "codervpn manager 2.0\n", Version{}, "no version in common: here 1.3, there 2.0", true},
		"own role":                {RoleTunnel, Supported, "codervpn tunnel 1.3\n", Version{}, `role "tunnel", want "manager"`, true},
		"client to tunnel":        {RoleTunnel, Supported, "codervpn client 1.3\n", Version{}, `role "client", want "manager"`, true},
		"empty role":              {RoleTunnel, Supported, "codervpn  1.3\n", Version{}, `role "", want "manager"`, true},
		"two parts":               {RoleTunnel, Supported, "codervpn manager\n", Version{}, "malformed header: 2 parts", false},
		"four parts":              {RoleTunnel, Supported, "codervpn manager 1.3 more\n", Version{}, "malformed header: 4 parts", false},
		"other protocol":          {RoleTunnel, Supported, "codervpm manager 1.3\n", Version{}, "malformed header: it begins with", false},
		"empty line":              {RoleTunnel, Supported, "\n", Version{}, "malformed header: 1 parts", false},
		"carriage return":         {RoleTunnel, Supported, "codervpn manager 1.3\r\n", Version{}, "is not MAJOR.MINOR", true},
		"no versions":             {RoleTunnel, Supported, "codervpn manager \n", Version{}, "is not MAJOR.MINOR", true},
		"no minor":                {RoleTunnel, Supported, "codervpn manager 1\n", Version{}, "is not MAJOR.MINOR", true},
		"major zero":              {RoleTunnel, Supported, "codervpn manager 0.3\n", Version{}, "is not MAJOR.MINOR", true},
		"negative":                {RoleTunnel, Supported, "codervpn manager 1.-3\n", Version{}, "is not MAJOR.MINOR", true},
		"words":                   {RoleTunnel, Supported, "codervpn manager one.three\n", Version{}, "is not MAJOR.MINOR", true},
		"huge":                    {RoleTunnel, Supported, "codervpn manager 1.99999999999999999999\n", Version{}, "is not MAJOR.MINOR", true},
		"not sorted":              {RoleTunnel, Supported, "codervpn manager 2.1,1.3\n", Version{}, "are not sorted", true},
		"twice the same major":    {RoleTunnel, Supported, "codervpn manager 1.1,1.3\n", Version{}, "name major version 1 twice", true},
		"256 bytes with newline":  {RoleTunnel, Supported, limit[:255] + "\n", Version{}, "malformed header: 1 parts", false},
		"256 bytes and no end":    {RoleTunnel, Supported, limit + "\n", Version{}, "over 256 bytes", false},
		"ends within":             {RoleTunnel, Supported, "codervpn mana", Version{}, "unexpected EOF", false},
		"ends before":             {RoleTunnel, Supported, "", Version{}, "unexpected EOF", false},
		"many majors in 256":      {RoleTunnel, Supported, "codervpn manager 1.3,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0,10.0\n", Version{1, 3}, "", false},
		"minor zero on both":      {RoleTunnel, Versions{{1, 0}}, "codervpn manager 1.0\n", Version{1, 0}, "", false},
		"empty entry in versions": {RoleTunnel, Supported, "codervpn manager 1.3,\n", Version{}, "is not MAJOR.MINOR", true},
	} {
		t.Run(name, func(t *testing.T) {
			const rest = "the messages"
			for kind, reader := range map[string]func(io.Reader) io.Reader{
				"whole": func(r io.Reader) io.Reader { return r }, "one byte at a time": iotest.OneByteReader,
			} {
				source := strings.NewReader(test.header + rest)
				if strings.HasPrefix(name, "ends") {
					source = strings.NewReader(test.header)
				}
				var out said
				got, err := Handshake(t.Context(), heard{reader(source)}, &out, test.ours, test.versions)
				if want := "codervpn " + string(test.ours) + " " + test.versions.String() + "\n"; out.String() != want {
					t.Errorf("%s: said %q, want %q", kind, out.String(), want)
				}
				if test.failure == "" {
					if left, _ := io.ReadAll(source); err != nil || got != test.chosen || string(left) != rest {
						t.Errorf("%s: %v %v, %q is left; want %v and %q", kind, got, err, left, test.chosen, rest)
					}
					continue
				}
				if err == nil || !errors.Is(err, ErrHandshake) || !strings.HasPrefix(err.Error(), "handshake failed") ||
					!strings.Contains(err.Error(), test.failure) || errors.Is(err, ErrInvalid) != test.invalid {
					t.Errorf("%s: %v, want a failed handshake, invalid %v: %q", kind, err, test.invalid, test.failure)
				}
			}
		})
	}
}

// TestHandshakeBothAtOnce: neither side reads before it writes, so that both
// have to do both, over pipes that hold nothing.
func TestHandshakeBothAtOnce(t *testing.T) {
	toTunnel, fromManager := io.Pipe()
	toManager, fromTunnel := io.Pipe()
	other := make(chan error, 1)
	go func() {
		_, err := Handshake(t.Context(), toManager, fromManager, RoleManager, Versions{{1, 1}})
		other <- err
	}()
	version, err := Handshake(t.Context(), toTunnel, fromTunnel, RoleTunnel, Supported)
	if err := errors.Join(err, <-other); err != nil || version != (Version{1, 1}) {
		t.Errorf("%v %v", version, err)
	}
}

// TestHandshakeCancel: nobody is there, neither to read nor to write.
func TestHandshakeCancel(t *testing.T) {
	toTunnel, keep := io.Pipe()
	keep2, fromTunnel := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Handshake(ctx, toTunnel, fromTunnel, RoleTunnel, Supported)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, ErrHandshake) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want a failed handshake that was canceled", err)
	}
	keep.Close()
	keep2.Close()
}

// TestHandshakeLimit: a manager that says nothing does not keep us.
func TestHandshakeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		toTunnel, keep := io.Pipe()
		in, fromTunnel := io.Pipe()
		go func() { _, _ = io.Copy(io.Discard, in) }()
		began := time.Now()
		err := Serve(t.Context(), toTunnel, fromTunnel, Config{Log: slog.DiscardHandler, Level: silent})
		if !errors.Is(err, ErrHandshake) || !strings.Contains(err.Error(), "no header within 30s") || time.Since(began) != handshakeLimit {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		keep.Close()
	})
}
