package mux

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// tape is a far side that says what is on it and hangs up.
type tape struct {
	*bytes.Reader
	closed chan struct{}
}

func (tape) Write(p []byte) (int, error) { return len(p), nil }

func (t tape) Close() error {
	select {
	case <-t.closed:
	default:
		close(t.closed)
	}
	return nil
}

func frame(kind byte, flags uint16, stream uint32, length uint32, body string) []byte {
	header := make([]byte, headerSize)
	header[1] = kind
	binary.BigEndian.PutUint16(header[2:], flags)
	binary.BigEndian.PutUint32(header[4:], stream)
	binary.BigEndian.PutUint32(header[8:], length)
	return append(header, body...)
}

// FuzzServe lets a server and a client hear anything: each ends when the far
// side hangs up, whatever it was.
func FuzzServe(f *testing.F) {
	const windowUpdate, ping, goAway = 1, 2, 3
	const syn, ack, fin, rst = 1, 2, 4, 8
	open := frame(windowUpdate, syn, 1, 0, "")
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, headerSize))
	f.Add(append(open, frame(typeData, 0, 1, 5, "hello")...))
	f.Add(append(open, frame(typeData, fin, 1, 4, "\x01\x01\x01\x00")...))
	f.Add(append(open, frame(typeData, 0, 1, 1<<31, "")...)) // beyond the window
	f.Add(append(frame(typeData, syn, 1, 3, "abc"), frame(typeData, rst, 1, 0, "")...))
	f.Add(append(open, open...)) // the same stream twice
	f.Add(frame(ping, syn, 0, 7, ""))
	f.Add(frame(goAway, 0, 0, 2, ""))
	f.Add(frame(windowUpdate, ack, 9, 1<<32-1, ""))
	f.Fuzz(func(t *testing.T, said []byte) {
		if len(said) > 64<<10 {
			return
		}
		router := drpcmux.New()
		if err := tailnetv2.DRPCRegisterTailnet(router, &sizes{}); err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = Serve(t.Context(), tape{bytes.NewReader(said), make(chan struct{})}, router)
		}()
		client, err := NewClient(tape{bytes.NewReader(said), make(chan struct{})})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for _, ended := range []<-chan struct{}{served, client.Closed()} {
			select {
			case <-ended:
			case <-time.After(30 * time.Second):
				t.Fatalf("never ended: %x", said)
			}
		}
	})
}
