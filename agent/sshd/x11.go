package sshd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/agent/login"
	"github.com/causewayhq/causeway/agent/sshd/xauth"
)

// Displays of X11 forwards listen on the ports 6010 to 6200; a display that is
// asked for when all are taken gets that of another, up to ten of which are
// tried (docs of the protocol, 5.3).
const (
	displayBase  = 6000
	firstDisplay = 10
	lastDisplay  = 200
	evictions    = 10
	// authorityLimit bounds the wait for the lock of the Xauthority file. The
	// connection takes nothing in meanwhile.
	authorityLimit = 3 * time.Second
	// Real cookies have 16 bytes, real names 18.
	maxCookie, maxCookieName = 256, 64
)

type x11Message struct {
	Single           bool
	Protocol, Cookie string
	Screen           uint32
}

type x11OpenMessage struct {
	Host string
	Port uint32
}

// displays are those of all sessions of the server.
type displays struct {
	mu    sync.Mutex
	open  map[int]*display
	clock uint64 // counts uses
}

// display is an X server for a session's programs: a listener whose connections
// go to the client.
type display struct {
	net.Listener
	all       *displays
	number    int
	name      string // for DISPLAY
	single    bool
	authority xauth.File
	entry     xauth.Entry

	// Of displays.mu: when it was last used, and the connections that are open.
	used  uint64
	conns map[net.Conn]struct{}
}

// take listens for the first free number. When there is none, the display goes
// that is used least: one without connections before others, then the one whose
// last use is longest ago.
func (d *displays) take() (*display, error) {
	for range evictions + 1 {
		if taken, err := d.listen(); err == nil {
			return taken, nil
		}
		oldest := d.oldest()
		if oldest == nil {
			break
		}
		oldest.Close()
	}
	return nil, errors.New("open display: every port from 6010 to 6200 is in use")
}

func (d *displays) listen() (*display, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for number := firstDisplay; number <= lastDisplay; number++ {
		if d.open[number] != nil {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(displayBase+number)))
		if err != nil {
			continue // another program's
		}
		if d.open == nil {
			d.open = map[int]*display{}
		}
		d.clock++
		taken := &display{Listener: listener, all: d, number: number, used: d.clock, conns: map[net.Conn]struct{}{}}
		d.open[number] = taken
		return taken, nil
	}
	return nil, errors.New("no free display")
}

func (d *displays) oldest() *display {
	d.mu.Lock()
	defer d.mu.Unlock()
	var least *display
	for _, each := range d.open {
		busy, leastBusy := len(each.conns) > 0, least != nil && len(least.conns) > 0
		if least == nil || leastBusy && !busy || leastBusy == busy && each.used < least.used {
			least = each
		}
	}
	return least
}

// Accept notes the use. A display for one connection takes no other.
func (d *display) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if d.single {
		d.Listener.Close()
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, errors.ErrUnsupported
	}
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	d.all.clock++
	d.used = d.all.clock
	d.conns[tcp] = struct{}{}
	return displayConn{tcp, d}, nil
}

// Close ends the display with its connections, which lets another take its
// number.
func (d *display) Close() error {
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	if d.all.open[d.number] == d {
		delete(d.all.open, d.number)
	}
	for conn := range d.conns {
		conn.Close()
	}
	return d.Listener.Close()
}

// displayConn is one program's connection to the display.
type displayConn struct {
	*net.TCPConn
	display *display
}

func (c displayConn) Close() error {
	c.display.all.mu.Lock()
	delete(c.display.conns, c.TCPConn)
	c.display.all.mu.Unlock()
	return c.TCPConn.Close()
}

// addX11 opens a display for the session, and puts the cookie, which the client
// made up for it and checks, where programs look for it.
func (s *session) addX11(payload []byte) bool {
	want, cookie, ok := parseX11(payload)
	if !ok || s.started || s.x11 != nil {
		return false
	}
	if err := s.openX11(want, cookie); err != nil {
		s.log.Info("X11 forward refused", slog.String("error", err.Error()))
		return false
	}
	return true
}

func parseX11(payload []byte) (want x11Message, cookie []byte, ok bool) {
	if ssh.Unmarshal(payload, &want) != nil || want.Protocol == "" || len(want.Protocol) > maxCookieName {
		return want, nil, false
	}
	cookie, err := hex.DecodeString(want.Cookie)
	return want, cookie, err == nil && len(cookie) > 0 && len(cookie) <= maxCookie
}

func (s *session) openX11(want x11Message, cookie []byte) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name the display: %w", err)
	}
	opened, err := s.conn.server.displays.take()
	if err != nil {
		return err
	}
	opened.single = want.Single
	opened.name = fmt.Sprintf("localhost:%d.%d", opened.number, want.Screen)
	opened.authority = xauth.File(authorityPath(s.conn.server.config.Login.Variables()))
	opened.entry = xauth.Entry{Family: xauth.FamilyLocal, Address: host, Number: strconv.Itoa(opened.number), Name: want.Protocol, Data: cookie}
	ctx, cancel := context.WithTimeout(s.conn.ctx, authorityLimit)
	defer cancel()
	if err := opened.authority.Add(ctx, opened.entry); err != nil {
		opened.Close()
		return err
	}
	s.x11 = opened
	s.conn.work.Go(func() {
		s.conn.accept(opened, "x11", func(conn net.Conn) []byte {
			origin := conn.RemoteAddr().(*net.TCPAddr)
			return ssh.Marshal(x11OpenMessage{Host: origin.IP.String(), Port: uint32(origin.Port)})
		})
	})
	return nil
}

// closeX11 ends the session's display. Its cookie is worthless then; a file that
// is locked for too long keeps it.
func (s *session) closeX11() {
	if s.x11 == nil {
		return
	}
	s.x11.Close()
	ctx, cancel := context.WithTimeout(context.Background(), authorityLimit)
	defer cancel()
	if err := s.x11.authority.Remove(ctx, s.x11.entry); err != nil {
		s.log.Debug("cookie of a display left behind", slog.String("error", err.Error()))
	}
}

// authorityPath is where the session's programs look for cookies.
func authorityPath(variables []string) string {
	if path := lookup(variables, "XAUTHORITY"); path != "" {
		return path
	}
	home := lookup(variables, "HOME")
	if home == "" {
		home = login.Current().Home
	}
	return filepath.Join(home, ".Xauthority")
}
