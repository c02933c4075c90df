package vpnproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/vpnv1"
)

// TestReadMessage is 4.3.
func TestReadMessage(t *testing.T) {
	// A start request whose URL fills the message: 2+n bytes with their heads.
	most := strings.Repeat("u", MaxMessage-10)
	full := append(binary.BigEndian.AppendUint32(nil, MaxMessage), unhex(t, "22 fbff ff07 12 f6ff ff07")...)
	for name, test := range map[string]struct {
		bytes []byte
		err   error // nil: read
		text  string
		left  int
	}{
		"a message":               {unhex(t, "00000004 0a020801 ff"), nil, "", 1},
		"length zero":             {unhex(t, "00000000 ff"), nil, "", 1},
		"the end between two":     {nil, io.EOF, "", 0},
		"the end in a length":     {unhex(t, "0000"), io.ErrUnexpectedEOF, "", 0},
		"the end in a body":       {unhex(t, "00000004 0a02"), io.ErrUnexpectedEOF, "", 0},
		"the end before the body": {unhex(t, "00000004"), io.ErrUnexpectedEOF, "", 0},
		"no protobuf":             {unhex(t, "00000003 ffffff"), nil, "read message of 3 bytes", 0},
		"one byte too many":       {append(unhex(t, "01000001"), make([]byte, 8)...), ErrTooLong, "16777217 bytes, the limit is 16777216", 8},
		"the largest length":      {unhex(t, "ffffffff"), ErrTooLong, "", 0},
		"the limit":               {append(full, most...), nil, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			source := bytes.NewReader(test.bytes)
			var in io.Reader = source
			if len(test.bytes) < 100 {
				in = iotest.OneByteReader(source)
			}
			err := readMessage(in, &vpnv1.ManagerMessage{})
			switch {
			case test.err == nil && test.text == "" && err != nil,
				test.err != nil && !errors.Is(err, test.err),
				test.text != "" && (err == nil || !strings.Contains(err.Error(), test.text)):
				t.Errorf("%v, want %v %q", err, test.err, test.text)
			}
			if source.Len() != test.left {
				t.Errorf("%d bytes left, want %d", source.Len(), test.left)
			}
		})
	}
}

// TestFrameLimit: what we send is held to the same limit.
func TestFrameLimit(t *testing.T) {
	message := &vpnv1.Log{Message: strings.Repeat("m", MaxMessage-5)}
	framed, err := frame(message)
	if err != nil || len(framed) != MaxMessage+4 || !bytes.HasPrefix(framed, []byte{1, 0, 0, 0, 0x12}) {
		t.Errorf("%d bytes, %v", len(framed), err)
	}
	message.Message += "m"
	if _, err := frame(message); !errors.Is(err, ErrTooLong) {
		t.Errorf("one byte over the limit: %v", err)
	}
}

// FuzzReadMessage: no bytes may end the process, or be read past the message.
func FuzzReadMessage(f *testing.F) {
	for _, seed := range []string{"", "\x00\x00\x00\x00", "\x00\x00\x00\x06\x0a\x02\x08\x01\x2a\x00", "\x01\x00\x00\x01", "\xff\xff\xff\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		message := &vpnv1.ManagerMessage{}
		source := bytes.NewReader(input)
		if err := readMessage(source, message); err != nil {
			return
		}
		length := int(binary.BigEndian.Uint32(input))
		if used := len(input) - source.Len(); used != length+lengthBytes {
			t.Fatalf("%d bytes used, the length says %d", used, length)
		}
		framed, err := frame(message)
		if err != nil {
			t.Fatal(err)
		}
		again := &vpnv1.ManagerMessage{}
		if err := readMessage(bytes.NewReader(framed), again); err != nil || !proto.Equal(message, again) {
			t.Fatalf("%v: %v became %v", err, message, again)
		}
	})
}

// FuzzHandshake: a header is refused, or means one of our versions.
func FuzzHandshake(f *testing.F) {
	for _, seed := range []string{"codervpn manager 1.3", "codervpn manager 1.9,2.0", "codervpn tunnel 1.3", "", "a b c", "codervpn manager 1.3,1.2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		var out said
		version, err := Handshake(t.Context(), heard{strings.NewReader(header + "\n")}, &out, RoleTunnel, Supported)
		switch {
		case err != nil && !errors.Is(err, ErrHandshake):
			t.Fatalf("%q: %v", header, err)
		case err == nil && (version.Major != 1 || version.Minor > 3 || len(header) > headerLimit-1 && !strings.Contains(header[:headerLimit], "\n")):
			t.Fatalf("%q: %v", header, version)
		}
	})
}
