package rpty

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/agent/rpty/vt"
	"github.com/causewayhq/causeway/proto/agentv2"
)

const plain = vt.MaxHistory

func same(t *testing.T, what string, a, b *vt.Terminal) {
	t.Helper()
	if x, y := a.Snapshot(plain), b.Snapshot(plain); !bytes.Equal(x, y) {
		t.Errorf("%s:\n%q\n%q", what, x, y)
	}
}

// The first message may come in any pieces; each of its fields is understood.
func TestInitInPieces(t *testing.T) {
	wanted := initial{ID: id(1), Height: 24, Width: 80, Command: "vim", Container: "c", ContainerUser: "u"}
	data := encode(map[string]any{"ID": wanted.ID, "Height": 24, "Width": 80, "Command": "vim", "Container": "c", "ContainerUser": "u", "BackendType": "screen"})
	for name, reader := range map[string]io.Reader{
		"whole": bytes.NewReader(data), "bytes": iotest.OneByteReader(bytes.NewReader(data)), "halves": iotest.HalfReader(bytes.NewReader(data)),
	} {
		if got, err := readInit(reader); err != nil || got != wanted {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for length := range data {
		if _, err := readInit(bytes.NewReader(data[:length])); err == nil {
			t.Errorf("%d bytes are enough", length)
		}
	}
}

func TestByteByByte(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		conn := s.connect()
		for _, b := range append(encode(initial{ID: id(1), Height: 10, Width: 20}), []byte(`{"data":"ls\r"}{"height":5,"width":6}`)...) {
			_, _ = conn.Write([]byte{b})
			time.Sleep(time.Second / 100)
			go io.Copy(io.Discard, conn)
		}
		synctest.Wait()
		if got := s.program(0).got(); got != "ls\r" {
			t.Errorf("typed %q", got)
		}
		if sizes := strings.Join(s.program(0).sizes, " "); sizes != "20x10 6x5" {
			t.Errorf("sizes %s", sizes)
		}
		conn.Close()
	})
}

// A size counts if both numbers are there.
func TestResizeNeedsBoth(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		c := s.attach(initial{ID: id(1)})
		for _, size := range [][2]int{{0, 50}, {50, 0}, {30, 90}, {0, 0}} {
			c.send(message{Height: size[0], Width: size[1]})
		}
		synctest.Wait()
		if sizes := strings.Join(s.program(0).sizes, " "); sizes != "80x80 90x30" {
			t.Errorf("sizes %s", sizes)
		}
		c.send(message{Height: 10})
		other := s.attach(initial{ID: id(1), Height: 40, Width: 100})
		synctest.Wait()
		if sizes := strings.Join(s.program(0).sizes, " "); sizes != "80x80 90x30" {
			t.Errorf("sizes %s", sizes)
		}
		other.Close()
		c.Close()
	})
}

// The same id attaches again, whatever command is said, and sees what was there.
func TestReattach(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		first := s.attach(initial{ID: id(1), Height: 5, Width: 20, Command: "one"})
		synctest.Wait()
		p := s.program(0)
		for range 30 {
			p.say("a line\r\n")
		}
		p.say("\x1b[?1049h\x1b[31mred\x1b[2;2H\x1b[?1h")
		synctest.Wait()
		first.Close()
		p.say("\x1b[4mmore") // while nobody watches
		synctest.Wait()
		second := s.attach(initial{ID: id(1), Height: 5, Width: 20, Command: "two"})
		p.say("\x1b[Kafter\x1b[38;5;")
		p.say("1mx")
		synctest.Wait()
		if len(s.programs) != 1 || p.command != "one" {
			t.Errorf("%d programs, %q", len(s.programs), p.command)
		}
		s.Server.mu.Lock()
		screen := s.sessions[id(1)].screen
		s.Server.mu.Unlock()
		same(t, "re-attached", screen, second.screen(20, 5))
		resumed := s.attach(initial{ID: id(1), Height: 5, Width: 20, Resume: true})
		synctest.Wait()
		if text, _ := resumed.got(); strings.Contains(text, "a line\r\n") || !strings.Contains(text, "red") {
			t.Errorf("resumed: %q", text)
		}
		second.Close()
		resumed.Close()
	})
}

// The end of the program ends the connections after the last output, and the
// same id begins anew.
func TestProgramEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		type report struct {
			code   int32
			reason string
		}
		var reports []report
		s := newStage(t, Config{Opened: func(kind agentv2.Connection_Type, remote net.Addr) func(int32, string) {
			if kind != agentv2.Connection_RECONNECTING_PTY || remote == nil {
				t.Errorf("%v from %v", kind, remote)
			}
			return func(code int32, reason string) { reports = append(reports, report{code, reason}) }
		}})
		defer s.close()
		c := s.attach(initial{ID: id(1), Height: 5, Width: 20})
		synctest.Wait()
		s.program(0).say("last words\x1b[")
		s.program(0).finish(7)
		synctest.Wait()
		if text, ended := c.got(); !ended || !strings.HasSuffix(text, "last words\x1b[") {
			t.Errorf("ended %v: %q", ended, text)
		}
		if len(reports) != 1 || reports[0] != (report{7, "the program has ended with code 7"}) {
			t.Errorf("reports %v", reports)
		}
		if left := s.List(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		again := s.attach(initial{ID: id(1)})
		synctest.Wait()
		s.program(1).say("x")
		synctest.Wait() // what is under way when a connection ends fails in another way
		again.Close()
		synctest.Wait()
		if len(reports) != 2 || reports[1] != (report{0, "detached"}) {
			t.Errorf("reports %v", reports)
		}
	})
}

// Five minutes without a viewer, and not one before; a viewer puts it off for
// as long as it stays.
func TestIdle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		c := s.attach(initial{ID: id(1)})
		time.Sleep(time.Hour)
		synctest.Wait()
		p := s.program(0)
		if p.endings() != 0 {
			t.Fatal("ended although watched")
		}
		c.Close()
		time.Sleep(DefaultIdle - time.Second)
		synctest.Wait()
		if infos := s.List(); len(infos) != 1 || time.Since(infos[0].IdleSince).Round(time.Second) != DefaultIdle-time.Second || infos[0].Viewers != 0 {
			t.Fatalf("before: %+v", infos)
		}
		again := s.attach(initial{ID: id(1)})
		time.Sleep(2 * time.Second)
		again.Close()
		time.Sleep(DefaultIdle - time.Second)
		synctest.Wait()
		if p.endings() != 0 {
			t.Fatal("ended too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if p.endings() == 0 || len(s.List()) != 0 {
			t.Errorf("not ended: %v", s.List())
		}
	})
}

func TestIdleIsConfigurable(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{Idle: time.Second})
		defer s.close()
		s.attach(initial{ID: id(1)}).Close()
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if len(s.List()) != 0 {
			t.Error("still there")
		}
	})
}

// Who says nothing is let go after 30 s.
func TestAttachLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		for _, part := range [][]byte{nil, {5}, {5, 0, '{'}} {
			conn := s.connect()
			begun := time.Now()
			go conn.Write(part)
			_, err := conn.Read(make([]byte, 1))
			if since := time.Since(begun); !errors.Is(err, io.EOF) || since != attachLimit {
				t.Errorf("%v after %v", err, since)
			}
			conn.Close()
		}
	})
}

// What cannot be done is said, and costs nothing.
func TestRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		check := func(wanted initial, want string) {
			t.Helper()
			c := s.attach(wanted)
			synctest.Wait()
			if text, ended := c.got(); !ended || !strings.Contains(text, want) {
				t.Errorf("ended %v: %q", ended, text)
			}
		}
		check(initial{Command: "vim"}, "attach terminal: the request names no terminal (ID)\r\n")
		check(initial{ID: id(1), Container: "c"}, "there are no containers in this workspace\r\n")
		check(initial{ID: id(1), ContainerUser: "root"}, "there are no containers")
		s.refuse = errors.New("no such shell")
		check(initial{ID: id(1)}, "attach terminal: no such shell\r\n")
		s.refuse = nil
		var open []*client
		for n := range maxSessions {
			open = append(open, s.attach(initial{ID: id(byte(n + 1))}))
		}
		synctest.Wait()
		check(initial{ID: id(200)}, "there are 64 terminals, and no more are allowed")
		for range maxViewers - 1 {
			open = append(open, s.attach(initial{ID: id(1)}))
		}
		synctest.Wait()
		check(initial{ID: id(1)}, "16 viewers watch the terminal")
		for _, each := range open {
			each.Close()
		}
	})
}

// A message that is too long, or none at all, ends the connection and nothing
// else.
func TestBadInput(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		watcher := s.attach(initial{ID: id(1)})
		for _, input := range []string{"no JSON", `{"data":7}`, `{"height":-1}[]`, `{"data":"` + strings.Repeat("x", maxInput) + `"}`} {
			c := s.attach(initial{ID: id(1)})
			_, _ = io.WriteString(c, input)
			synctest.Wait()
			if _, ended := c.got(); !ended {
				t.Errorf("%.20q is taken", input)
			}
		}
		s.program(0).say("on")
		synctest.Wait()
		if text, ended := watcher.got(); ended || !strings.HasSuffix(text, "on") || s.program(0).got() != "" {
			t.Errorf("ended %v: %q", ended, text)
		}
		long := strings.Repeat("y", maxInput/2)
		watcher.send(message{Data: long})
		watcher.send(message{Data: "z"})
		synctest.Wait()
		if got := s.program(0).got(); got != long+"z" {
			t.Errorf("typed %d bytes", len(got))
		}
		watcher.Close()
	})
}

func TestKill(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		c := s.attach(initial{ID: id(1), Command: "top"})
		synctest.Wait()
		s.program(0).say("\x1b]0;name\x07")
		infos := s.List()
		if len(infos) != 1 || infos[0].Command != "top" || infos[0].Viewers != 1 || infos[0].Columns != 80 || infos[0].Title != "name" || !infos[0].IdleSince.IsZero() {
			t.Errorf("list: %+v", infos)
		}
		if err := s.Kill(id(2)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("another: %v", err)
		}
		if err := s.Kill(id(1)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if _, ended := c.got(); !ended || len(s.List()) != 0 {
			t.Errorf("ended %v, left %v", ended, s.List())
		}
	})
}

// TestProgramThatDoesNotEnd: who comes back to a terminal whose program cannot be
// ended hears that, in time.
func TestProgramThatDoesNotEnd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		defer func() { s.program(0).finish(0) }()
		s.attach(initial{ID: id(1)})
		synctest.Wait()
		s.program(0).deaf = true
		if err := s.Kill(id(1)); err == nil || !strings.Contains(err.Error(), "has not ended") {
			t.Errorf("killed: %v", err)
		}
		begun := time.Now()
		c := s.attach(initial{ID: id(1)})
		time.Sleep(attachLimit)
		synctest.Wait()
		text, ended := c.got()
		if !ended || !strings.Contains(text, "the terminal's program does not end") {
			t.Errorf("after %s: ended %v, %q", time.Since(begun), ended, text)
		}
	})
}

func FuzzInit(f *testing.F) {
	f.Add(encode(initial{ID: id(1)}))
	f.Add([]byte{2, 0, '{', '}'})
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, err := readInit(bytes.NewReader(data))
		pieces, again := readInit(iotest.OneByteReader(bytes.NewReader(data)))
		if whole != pieces || (err == nil) != (again == nil) {
			t.Errorf("%v %v, %v %v", whole, err, pieces, again)
		}
	})
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"data":"x"}{"height":1,"width":2} {}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		stream := newMessages(iotest.HalfReader(bytes.NewReader(data)))
		reference := json.NewDecoder(bytes.NewReader(data))
		for {
			var want message
			got, err := stream.next()
			wantErr := reference.Decode(&want)
			if got != want && err == nil || (err == nil) != (wantErr == nil) {
				t.Fatalf("%v %v, want %v %v", got, err, want, wantErr)
			}
			if err != nil {
				return
			}
		}
	})
}
