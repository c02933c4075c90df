package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// lookupLimit is when a lookup has failed: glibc's timeout for one query.
const lookupLimit = 5 * time.Second

// errWrong marks an answer that says something untrue.
var errWrong = errors.New("wrong answer")

// ask looks a name up as glibc's stub resolver does with its defaults: one
// datagram, 5 s for its answer, and a second one at once after SERVFAIL,
// REFUSED or a resolver that is not there. The count is of those.
func ask(clock *clock, resolver, name string, of dnsmessage.Type) (addrs []netip.Addr, refused int, err error) {
	began := clock.now()
	for {
		addrs, again, err := askOnce(clock, began, resolver, name, of)
		if err == nil || !again {
			return addrs, refused, err
		}
		if refused++; refused == 2 {
			return nil, refused, err
		}
	}
}

// askOnce says of an error whether glibc would ask again.
func askOnce(clock *clock, began time.Duration, resolver, name string, of dnsmessage.Type) (addrs []netip.Addr, again bool, err error) {
	conn, err := net.Dial("udp", resolver)
	if err != nil {
		return nil, true, err
	}
	defer conn.Close()
	query, err := packQuery(name, of)
	if err != nil {
		return nil, false, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, true, err
	}
	buffer := make([]byte, 4096)
	for {
		left := lookupLimit - (clock.now() - began)
		if left <= 0 {
			return nil, false, fmt.Errorf("no answer within %v", lookupLimit)
		}
		conn.SetReadDeadline(time.Now().Add(left))
		count, err := conn.Read(buffer)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			continue // a host that was frozen has the time that is left
		}
		if err != nil {
			return nil, true, err
		}
		if bytes.Equal(buffer[:2], query[:2]) {
			return readAnswer(buffer[:count])
		}
	}
}

func packQuery(name string, of dnsmessage.Type) ([]byte, error) {
	fqdn, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, err
	}
	var id [2]byte
	rand.Read(id[:])
	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: binary.BigEndian.Uint16(id[:]), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: fqdn, Type: of, Class: dnsmessage.ClassINET}},
	}
	return message.Pack()
}

func readAnswer(packet []byte) (addrs []netip.Addr, again bool, err error) {
	var message dnsmessage.Message
	if err := message.Unpack(packet); err != nil {
		return nil, false, fmt.Errorf("%w: %w", errWrong, err)
	}
	switch message.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused, dnsmessage.RCodeNotImplemented:
		return nil, true, fmt.Errorf("resolver says %v", message.RCode)
	default:
		return nil, false, fmt.Errorf("%w: %v", errWrong, message.RCode)
	}
	for _, record := range message.Answers {
		switch body := record.Body.(type) {
		case *dnsmessage.AAAAResource:
			addrs = append(addrs, netip.AddrFrom16(body.AAAA))
		case *dnsmessage.AResource:
			addrs = append(addrs, netip.AddrFrom4(body.A))
		}
	}
	if len(addrs) == 0 {
		return nil, false, fmt.Errorf("%w: no address", errWrong)
	}
	return addrs, false, nil
}

// askSystem looks a name up as an application does, through nsswitch.conf.
// What getent does not find it does not find, whatever the reason: that counts
// as failed, and nobody asks again.
func askSystem(name string, of dnsmessage.Type) ([]netip.Addr, error) {
	database := "ahostsv6"
	if of == dnsmessage.TypeA {
		database = "ahostsv4"
	}
	output, err := exec.Command("getent", database, name).Output()
	if err != nil {
		return nil, fmt.Errorf("getent: %w", err)
	}
	var addrs []netip.Addr
	for line := range strings.Lines(string(output)) {
		text, _, _ := strings.Cut(line, " ")
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%w: getent: %q", errWrong, line)
		}
		if !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

// firstAnswer does not wait for a query that nobody answers: it sends another
// each 50 ms.
func firstAnswer(name, timeout string) error {
	limit, err := time.ParseDuration(timeout)
	if err != nil {
		return err
	}
	fmt.Println("asking")
	last := errors.New("nothing was tried")
	for began := time.Now(); time.Since(began) < limit; time.Sleep(5 * time.Millisecond) {
		var addrs []netip.Addr
		if addrs, last = askQuickly(name); last == nil {
			fmt.Println(time.Now().UnixNano(), addrs[0])
			return nil
		}
	}
	return fmt.Errorf("look up %s: %w", name, last)
}

func askQuickly(name string) ([]netip.Addr, error) {
	conn, err := net.Dial("udp", stub)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	query, err := packQuery(name, dnsmessage.TypeAAAA)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buffer := make([]byte, 4096)
	count, err := conn.Read(buffer)
	if err != nil {
		return nil, err
	}
	addrs, _, err := readAnswer(buffer[:count])
	return addrs, err
}
