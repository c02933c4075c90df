package rpty

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func (s *stage) screenOf(n byte) *session {
	s.Server.mu.Lock()
	defer s.Server.mu.Unlock()
	return s.sessions[id(n)]
}

// Two viewers see the same, cell by cell, whoever came first and whatever size
// their windows have: the terminal has the smallest.
func TestTwoViewers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		large := s.attach(initial{ID: id(1), Height: 10, Width: 40})
		synctest.Wait()
		p := s.program(0)
		p.say("\x1b[?1049h\x1b[1;31mhello\x1b[10;40H!")
		small := s.attach(initial{ID: id(1), Height: 6, Width: 50})
		synctest.Wait()
		p.say("\x1b[2J\x1b[r\x1b[6;1Hbottom\r\nscrolled\x1b[1;1Htop\x1b[?25l")
		time.Sleep(time.Second)
		synctest.Wait()
		if sizes := strings.Join(p.sizes, " "); sizes != "40x10 40x6" {
			t.Fatalf("sizes %s", sizes)
		}
		screen := s.screenOf(1).screen
		a, b := large.screen(40, 10), small.screen(50, 6)
		for _, each := range []struct {
			name string
			text string
		}{{"large", a.Text()}, {"small", b.Text()}} {
			if strings.TrimRight(each.text, "\n") != strings.TrimRight(screen.Text(), "\n") {
				t.Errorf("%s shows %q, the terminal %q", each.name, each.text, screen.Text())
			}
		}
		// Both type; both see.
		large.send(message{Data: "a"})
		synctest.Wait()
		small.send(message{Data: "b"})
		synctest.Wait()
		if p.got() != "ab" {
			t.Errorf("typed %q", p.got())
		}
		small.Close()
		synctest.Wait()
		p.say("\x1b[10;1Hbelow")
		time.Sleep(time.Second)
		synctest.Wait()
		if sizes := strings.Join(p.sizes, " "); sizes != "40x10 40x6 40x10" {
			t.Errorf("sizes %s", sizes)
		}
		same(t, "the one that stayed", screen, large.screen(40, 10))
		large.Close()
	})
}

// Who comes in the middle of a string that is passed on in pieces gets none of
// its rest, and all that follows.
func TestJoinInLongString(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		first := s.attach(initial{ID: id(1), Height: 5, Width: 20})
		synctest.Wait()
		p := s.program(0)
		p.say("before\x1bPq" + strings.Repeat("picture", 2000))
		second := s.attach(initial{ID: id(1), Height: 5, Width: 20})
		synctest.Wait()
		p.say(strings.Repeat("picture", 2000))
		p.say("\x1b\\after")
		synctest.Wait()
		whole, _ := first.got()
		if strings.Count(whole, "picture") != 4000 {
			t.Errorf("%d pieces", strings.Count(whole, "picture"))
		}
		if text, _ := second.got(); strings.Contains(text, "picture") || !strings.HasSuffix(text, "after") {
			t.Errorf("got %.300q", text)
		}
		same(t, "both", first.screen(20, 5), second.screen(20, 5))
		first.Close()
		second.Close()
	})
}

// Of several viewers one replies to a question; without any, the terminal does.
func TestQueries(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		first := s.attach(initial{ID: id(1), Height: 5, Width: 20})
		synctest.Wait()
		second := s.attach(initial{ID: id(1), Height: 5, Width: 20})
		synctest.Wait()
		p := s.program(0)
		p.say("\x1b[6n")
		second.send(message{Data: "x"})
		synctest.Wait()
		p.say("\x1b[c")
		synctest.Wait()
		one, _ := first.got()
		two, _ := second.got()
		if !strings.Contains(one, "\x1b[6n") || strings.Contains(one, "\x1b[c") || strings.Contains(two, "\x1b[6n") || !strings.Contains(two, "\x1b[c") {
			t.Errorf("%q\n%q", one, two)
		}
		first.Close()
		second.Close()
		synctest.Wait()
		p.say("ab\x1b[6n")
		synctest.Wait()
		if got := p.got(); got != "x\x1b[1;3R" {
			t.Errorf("typed %q", got)
		}
	})
}

// A viewer that never reads blocks neither the program nor the others, costs a
// bounded queue, and is cut off after 30 s.
func TestSlowViewer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		slow := s.connect()
		_, _ = slow.Write(encode(initial{ID: id(1), Height: 5, Width: 20}))
		synctest.Wait()
		fast := s.attach(initial{ID: id(1), Height: 5, Width: 20})
		begun := time.Now()
		for range 400 {
			s.program(0).say(strings.Repeat("0123456789abcdef\r\n", 1000))
		}
		s.program(0).say("the end")
		took := time.Since(begun)
		synctest.Wait()
		session := s.screenOf(1)
		session.mu.Lock()
		for _, each := range session.viewers {
			if len(each.queue) > maxQueue {
				t.Errorf("%d bytes wait", len(each.queue))
			}
		}
		session.mu.Unlock()
		if text, _ := fast.got(); !strings.HasSuffix(text, "the end") {
			t.Error("the other viewer waits")
		}
		if took > patience {
			t.Errorf("the program was held up for %v", took)
		}
		time.Sleep(stuckLimit + time.Second)
		synctest.Wait()
		if infos := s.List(); len(infos) != 1 || infos[0].Viewers != 1 {
			t.Errorf("viewers: %+v", infos)
		}
		fast.Close()
		slow.Close()
	})
}

// A viewer that falls behind and comes back has the right screen, and the last
// lines above it.
func TestCatchesUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		conn := s.connect()
		_, _ = conn.Write(encode(initial{ID: id(1), Height: 5, Width: 20}))
		synctest.Wait()
		for range 100 {
			s.program(0).say(strings.Repeat("0123456789abcdef\r\n", 1000))
		}
		s.program(0).say("\x1b[33mthe end")
		c := &client{Conn: conn, t: t}
		go func() {
			buffer := make([]byte, 4096)
			for {
				count, err := conn.Read(buffer)
				c.mu.Lock()
				c.raw.Write(buffer[:count])
				c.mu.Unlock()
				if err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		screen := s.screenOf(1).screen
		same(t, "caught up", screen, c.screen(20, 5))
		if text, _ := c.got(); len(text) > 2<<20 {
			t.Errorf("%d bytes were kept for it", len(text))
		}
		conn.Close()
	})
}

// A program that reads nothing holds up who types, for 30 s, and nobody else.
func TestProgramThatDoesNotRead(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		typist, other := s.attach(initial{ID: id(1)}), s.attach(initial{ID: id(1)})
		synctest.Wait()
		p := s.program(0)
		p.mu.Lock()
		p.stuck = make(chan struct{})
		p.mu.Unlock()
		go func() {
			for range maxTyped + 3 {
				typist.send(message{Data: "x"})
			}
		}()
		synctest.Wait()
		p.say("still")
		synctest.Wait()
		if text, _ := other.got(); !strings.HasSuffix(text, "still") {
			t.Error("the other viewer waits")
		}
		time.Sleep(stuckLimit + time.Second)
		synctest.Wait()
		if _, ended := typist.got(); !ended {
			t.Error("not cut off")
		}
		if _, ended := other.got(); ended {
			t.Error("the other one is cut off")
		}
		typist.Close()
		other.Close()
	})
}
