package vpnproto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Role is what one side of a connection is.
type Role string

// The roles. A desktop app and its service on Windows use the last two.
const (
	RoleManager Role = "manager"
	RoleTunnel  Role = "tunnel"
	RoleClient  Role = "client"
	RoleService Role = "service"
)

// counterpart is the role of the other side.
func (r Role) counterpart() Role {
	switch r {
	case RoleManager:
		return RoleTunnel
	case RoleTunnel:
		return RoleManager
	case RoleClient:
		return RoleService
	case RoleService:
		return RoleClient
	}
	return "" // nobody
}

const (
	preamble = "codervpn"
	// headerLimit is how long a header may be, in bytes, with its newline.
	headerLimit = 256
)

var (
	// ErrHandshake is wrapped by every failure of a handshake; ErrInvalid too by
	// one of what the header says.
	ErrHandshake = errors.New("handshake failed")
	errTooLarge  = fmt.Errorf("malformed header: over %d bytes without a newline", headerLimit)
)

// Handshake tells the other side who we are, and at the same time reads who it
// is. When the context ends first both streams are closed, and nothing of this
// is left running.
func Handshake(ctx context.Context, in io.ReadCloser, out io.WriteCloser, ours Role, versions Versions) (Version, error) {
	var sides sync.WaitGroup
	var sent, received error
	var theirs string
	stop := context.AfterFunc(ctx, func() {
		in.Close()
		out.Close()
	})
	sides.Go(func() {
		_, sent = fmt.Fprintf(out, "%s %s %s\n", preamble, ours, versions)
	})
	sides.Go(func() { theirs, received = readHeader(in) })
	sides.Wait()
	stop()
	if ctx.Err() != nil {
		return Version{}, fmt.Errorf("%w: %w", ErrHandshake, context.Cause(ctx))
	}
	// What was read says more: who is refused hangs up, and the write fails too.
	if received != nil {
		return Version{}, fmt.Errorf("%w: read header: %w", ErrHandshake, received)
	}
	chosen, err := judge(theirs, ours, versions)
	if err != nil {
		return Version{}, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if sent != nil {
		return Version{}, fmt.Errorf("%w: write header: %w", ErrHandshake, sent)
	}
	return chosen, nil
}

// readHeader takes one byte at a time, or it would swallow what follows.
func readHeader(in io.Reader) (string, error) {
	header := make([]byte, 0, headerLimit)
	one := make([]byte, 1)
	for len(header) < headerLimit {
		if _, err := io.ReadFull(in, one); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		if one[0] == '\n' {
			return string(header), nil
		}
		header = append(header, one[0])
	}
	return "", errTooLarge
}

// judge decides what a header means for us.
func judge(header string, ours Role, versions Versions) (Version, error) {
	parts := strings.Split(header, " ")
	const wanted = 3
	switch {
	case len(parts) != wanted:
		return Version{}, fmt.Errorf("malformed header: %d parts, want %d", len(parts), wanted)
	case parts[0] != preamble:
		return Version{}, fmt.Errorf("malformed header: it begins with %.32q, want %q", parts[0], preamble)
	case Role(parts[1]) != ours.counterpart():
		return Version{}, fmt.Errorf("role %.32q, want %q: %w", parts[1], ours.counterpart(), ErrInvalid)
	}
	theirs, err := ParseVersions(parts[2])
	if err != nil {
		return Version{}, err
	}
	return versions.Choose(theirs)
}
