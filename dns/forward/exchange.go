package forward

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	headerLen = 12
	// maxPacket is the longest answer over UDP that is read. Servers send 1232
	// bytes or 4096; a longer one is asked for again over TCP.
	maxPacket = 4096
	// maxStrange is how many packets that are no answer are read from a server:
	// somebody who guesses ids must not keep us at it.
	maxStrange = 64
)

var (
	errStrange = errors.New("too many packets that are no answer")
	errLong    = errors.New("answer is too long for UDP")
)

// exchange asks one server: over UDP from a port of its own with an id of its
// own, and again over TCP if the answer was cut short; or over TCP alone.
func exchange(ctx context.Context, server netip.AddrPort, query []byte, stream bool) ([]byte, error) {
	asked := bytes.Clone(query)
	if _, err := rand.Read(asked[:2]); err != nil {
		return nil, fmt.Errorf("ask %s: choose id: %w", server, err)
	}
	answer, err := []byte(nil), error(nil)
	if !stream {
		if answer, err = overUDP(ctx, server, asked); err != nil && !errors.Is(err, errLong) {
			return nil, fmt.Errorf("ask %s over UDP: %w", server, err)
		}
	}
	const truncated = 0x02
	if answer == nil || answer[2]&truncated != 0 {
		if !stream { // else the client may still try by itself
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, patience/2)
			defer cancel()
		}
		whole, err := overTCP(ctx, server, asked)
		switch {
		case err == nil:
			answer = whole
		case answer == nil:
			return nil, fmt.Errorf("ask %s over TCP: %w", server, err)
		}
	}
	copy(answer, query[:2])
	return answer, nil
}

func overUDP(ctx context.Context, server netip.AddrPort, asked []byte) ([]byte, error) {
	conn, err := dial(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(asked); err != nil {
		return nil, err
	}
	buffer := make([]byte, maxPacket+1)
	for range maxStrange {
		size, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if size > maxPacket && bytes.Equal(buffer[:2], asked[:2]) {
			return nil, errLong
		}
		if answers(buffer[:size], asked) {
			return buffer[:size:size], nil
		}
	}
	return nil, errStrange
}

func overTCP(ctx context.Context, server netip.AddrPort, asked []byte) ([]byte, error) {
	conn, err := dial(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(asked)), uint16(len(asked)))
	if _, err := conn.Write(append(framed, asked...)); err != nil {
		return nil, err
	}
	var prefix [2]byte
	if _, err := io.ReadFull(conn, prefix[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(prefix[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, err
	}
	if !answers(answer, asked) {
		return nil, errors.New("what came is no answer to the question")
	}
	return answer, nil
}

func dial(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, server.String())
}

// answers says whether a message answers a query: its id, its question, and
// well formed to the end. A server that did not understand may leave the
// question out.
func answers(message, asked []byte) bool {
	if len(message) < headerLen || !bytes.Equal(message[:2], asked[:2]) {
		return false
	}
	var got, want dnsmessage.Parser
	header, err := got.Start(message)
	if err != nil || !header.Response || header.OpCode != 0 {
		return false
	}
	if _, err := want.Start(asked); err != nil {
		return false
	}
	if binary.BigEndian.Uint16(message[4:]) == 0 {
		understood := header.RCode != dnsmessage.RCodeFormatError && header.RCode != dnsmessage.RCodeNotImplemented &&
			header.RCode != dnsmessage.RCodeServerFailure && header.RCode != dnsmessage.RCodeRefused
		return !understood && len(message) == headerLen
	}
	if !sameQuestion(&got, &want) {
		return false
	}
	return got.SkipAllAnswers() == nil && got.SkipAllAuthorities() == nil && got.SkipAllAdditionals() == nil
}

// sameQuestion compares the only question of both.
func sameQuestion(got, want *dnsmessage.Parser) bool {
	theirs, err := got.Question()
	if err != nil {
		return false
	}
	ours, err := want.Question()
	if err != nil || theirs.Type != ours.Type || theirs.Class != ours.Class || !strings.EqualFold(theirs.Name.String(), ours.Name.String()) {
		return false
	}
	_, err = got.Question()
	return errors.Is(err, dnsmessage.ErrSectionDone)
}
