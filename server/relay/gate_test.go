package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go4.org/mem"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// odd allows what goes to a key with an odd first byte, and counts questions.
type odd struct{ asked int }

func (*odd) KnowsKey(k key.NodePublic) bool { return k.AppendTo(nil)[0]%2 == 1 }

func (o *odd) MayRelay(_, dst key.NodePublic) bool {
	o.asked++
	return dst.AppendTo(nil)[0]%2 == 1
}

func frame(kind derp.FrameType, body []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{byte(kind)}, uint32(len(body)))
	return append(out, body...)
}

func packet(first byte, size int) []byte {
	body := make([]byte, derp.KeyLen+size)
	body[0] = first
	return frame(derp.FrameSendPacket, body)
}

func hello() []byte { return frame(derp.FrameClientInfo, bytes.Repeat([]byte{9}, 100)) }

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func TestGate(t *testing.T) {
	big := derp.MaxPacketSize
	tests := []struct {
		name     string
		in, want []byte
		err      error
	}{
		{"nothing", nil, nil, nil},
		{"only hello", hello(), hello(), nil},
		{"allowed", join(hello(), packet(1, 10), packet(3, 0)), join(hello(), packet(1, 10), packet(3, 0)), nil},
		{"denied", join(hello(), packet(2, 10), packet(4, 0)), hello(), nil},
		{"mixed", join(hello(), packet(2, 9), packet(1, 8), packet(2, 7), packet(1, 6)), join(hello(), packet(1, 8), packet(1, 6)), nil},
		{"largest", join(hello(), packet(1, big), packet(2, big), packet(1, 1)), join(hello(), packet(1, big), packet(1, 1)), nil},
		{"too large", join(hello(), packet(2, big+1)), hello(), errOversize},
		{"too large and allowed", join(hello(), packet(1, big+1)), hello(), errOversize},
		{"before hello", join(packet(1, 5), hello(), packet(1, 5)), join(hello(), packet(1, 5)), nil},
		{"second hello changes nobody", join(hello(), frame(derp.FrameClientInfo, make([]byte, 64)), packet(1, 2)), join(hello(), frame(derp.FrameClientInfo, make([]byte, 64)), packet(1, 2)), nil},
		{"other frames pass", join(hello(), frame(derp.FrameKeepAlive, nil), frame(derp.FramePing, make([]byte, 8)), packet(2, 3), frame(0xee, make([]byte, 5000))), join(hello(), frame(derp.FrameKeepAlive, nil), frame(derp.FramePing, make([]byte, 8)), frame(0xee, make([]byte, 5000))), nil},
		{"packet without a key", join(hello(), frame(derp.FrameSendPacket, make([]byte, 31))), join(hello(), frame(derp.FrameSendPacket, make([]byte, 31))), nil},
		{"end in a header", join(hello(), []byte{4, 0, 0}), hello(), io.ErrUnexpectedEOF},
		{"end in a key", join(hello(), packet(1, 3)[:20]), hello(), io.ErrUnexpectedEOF},
		{"end in an allowed body", join(hello(), packet(1, 9)[:40]), join(hello(), packet(1, 9)[:40]), nil},
		{"end in a denied body", join(hello(), packet(2, 9)[:40]), hello(), nil},
	}
	for _, test := range tests {
		for reader, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "by byte": iotest.OneByteReader, "halves": iotest.HalfReader, "data with error": iotest.DataErrReader,
		} {
			t.Run(test.name+"/"+reader, func(t *testing.T) {
				got, err := io.ReadAll(newGate(wrap(bytes.NewReader(test.in)), nil, &odd{}))
				if !bytes.Equal(got, test.want) || !errors.Is(err, test.err) {
					t.Errorf("got %d bytes, error %v; want %d, %v", len(got), err, len(test.want), test.err)
				}
				early := len(test.in) / 2
				got, _ = io.ReadAll(newGate(wrap(bytes.NewReader(test.in[early:])), test.in[:early], &odd{}))
				if !bytes.Equal(got, test.want) {
					t.Errorf("with early bytes: got %d bytes, want %d", len(got), len(test.want))
				}
			})
		}
	}
}

func TestGateRemembersDecisionsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		policy := &odd{}
		g := newGate(in, nil, policy)
		done := make(chan struct{})
		go func() { defer close(done); io.Copy(io.Discard, g) }()
		out.Write(hello())
		for _, step := range []struct {
			first byte
			pause time.Duration
			asked int
		}{{1, 0, 1}, {1, allowedFor / 2, 1}, {1, allowedFor / 2, 2}, {2, 0, 3}, {2, deniedFor / 2, 3}, {2, deniedFor / 2, 4}} {
			time.Sleep(step.pause)
			out.Write(packet(step.first, 4))
			synctest.Wait()
			if policy.asked != step.asked {
				t.Errorf("asked %d times, want %d", policy.asked, step.asked)
			}
		}
		// Many partners do not make it grow.
		for i := range 3 * decisionLimit {
			body := make([]byte, derp.KeyLen)
			binary.BigEndian.PutUint32(body, uint32(i))
			out.Write(frame(derp.FrameSendPacket, body))
		}
		out.Close()
		<-done
		if len(g.decisions) > decisionLimit {
			t.Errorf("%d decisions kept", len(g.decisions))
		}
	})
}

func TestGateCutsStrangers(t *testing.T) {
	for name, test := range map[string]struct {
		hello []byte
		after time.Duration
		cut   bool
	}{
		"known":           {frame(derp.FrameClientInfo, bytes.Repeat([]byte{9}, 100)), 10 * strangerGrace, false},
		"unknown":         {frame(derp.FrameClientInfo, bytes.Repeat([]byte{8}, 100)), strangerGrace + time.Second, true},
		"unknown, early":  {frame(derp.FrameClientInfo, bytes.Repeat([]byte{8}, 100)), strangerGrace / 2, false},
		"without a hello": {nil, strangerGrace + time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(bytes.NewReader(test.hello), nil, &odd{})
				io.Copy(io.Discard, g)
				cut := false
				stop := g.watch(func() { cut = true })
				time.Sleep(test.after)
				synctest.Wait()
				if cut != test.cut {
					t.Errorf("cut is %v", cut)
				}
				stop()
			})
		})
	}
}

func TestGateBufferGrowsAndShrinks(t *testing.T) {
	in, out := io.Pipe()
	g := newGate(in, nil, &odd{})
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(io.Discard, g) }()
	out.Write(hello())
	for range 50 {
		out.Write(packet(1, 60000))
	}
	large := len(g.buf) // the writer of a pipe goes on when its bytes were taken
	for range 3 * smallReads {
		out.Write(packet(1, 10))
	}
	out.Close()
	<-done
	if large != largeBuffer || len(g.buf) != smallBuffer {
		t.Errorf("buffer was %d, is %d", large, len(g.buf))
	}
}

// filter is what the gate must let through, worked out on whole frames.
func filter(in []byte, policy Policy) []byte {
	var out []byte
	var who *key.NodePublic
	for len(in) >= derp.FrameHeaderLen {
		size := derp.FrameHeaderLen + int(binary.BigEndian.Uint32(in[1:]))
		body := size - derp.FrameHeaderLen
		whole := in[:min(size, len(in))]
		if body >= derp.KeyLen && (derp.FrameType(in[0]) == derp.FrameSendPacket || (who == nil && derp.FrameType(in[0]) == derp.FrameClientInfo)) {
			if derp.FrameType(in[0]) == derp.FrameSendPacket && body > derp.KeyLen+derp.MaxPacketSize {
				return out
			}
			if len(whole) < derp.FrameHeaderLen+derp.KeyLen {
				return out
			}
			named := key.NodePublicFromRaw32(mem.B(whole[derp.FrameHeaderLen : derp.FrameHeaderLen+derp.KeyLen]))
			if derp.FrameType(in[0]) == derp.FrameClientInfo {
				who = &named
			} else if who == nil || !policy.MayRelay(*who, named) {
				in = in[len(whole):]
				continue
			}
		}
		out = append(out, whole...)
		in = in[len(whole):]
	}
	return out
}

func FuzzGate(f *testing.F) {
	f.Add(join(hello(), packet(1, 5), packet(2, 5), frame(derp.FramePing, make([]byte, 8))), 3, 7)
	f.Add(join(packet(1, 5), hello()), 100, 0)
	f.Add([]byte{4, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}, 1, 2)
	f.Fuzz(func(t *testing.T, in []byte, early, chunk int) {
		early = min(max(early, 0), len(in))
		g := newGate(bytes.NewReader(in[early:]), in[:early], &odd{})
		var got []byte
		buf := make([]byte, min(max(chunk, 1), 1<<16))
		for {
			n, err := g.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
		}
		if want := filter(in, &odd{}); !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
	})
}
