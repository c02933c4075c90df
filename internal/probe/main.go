// Command probe is the small change of the rigs: what runs on a test host
// beside the programs under test, so that a host needs nothing installed.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

const usage = `usage:
  probe udp-echo ADDR              answer each datagram with itself
  probe udp-check ADDR SIZE COUNT  send datagrams of SIZE bytes one at a time, each up to 5 times a second apart, and compare the answers
  probe wait-http URL TIMEOUT      wait until URL answers 200
  probe tcp-sink ADDR              read and drop what each connection sends; answer with the count of bytes
  probe tcp-send ADDR BYTES N      send BYTES over N connections at once; print bytes and seconds
  probe tcp-echo ADDR              give back what each connection sends
  probe tcp-check ADDR TIMEOUT     connect, have a line given back; print the seconds
  probe first-answer NAME TIMEOUT  ask the system's resolver for NAME, 5 ms after each refusal, until it has an address; print it and when
  probe load                       the steady load that standard input describes (see load.go), until it is closed
  probe relay ADDR STUN KEYFILE    a relay for everybody, and STUN
  probe api-hole ADDR TARGET       a TCP proxy that lets the Tailnet API and the relay through, and takes other requests without ever answering
  probe clock-proxy ADDR HOST OFF  a reverse proxy to HOST whose Date header is off by OFF
  probe tun NAME                   hold a TUN device open, as another VPN does
  probe vpn NAME LISTEN [PEER]     a VPN: packets between a TUN device and UDP, to PEER or to whoever wrote last
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "udp-echo":
		return udpEcho(ctx, args[1])
	case len(args) == 4 && args[0] == "udp-check":
		return numbers(args[2:], func(n []int) error { return udpCheck(args[1], n[0], n[1]) })
	case len(args) == 3 && args[0] == "wait-http":
		return waitHTTP(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "tcp-sink":
		return tcpSink(ctx, args[1])
	case len(args) == 4 && args[0] == "tcp-send":
		return numbers(args[2:], func(n []int) error { return tcpSend(args[1], n[0], n[1]) })
	case len(args) == 2 && args[0] == "tcp-echo":
		return tcpEcho(ctx, args[1])
	case len(args) == 3 && args[0] == "tcp-check":
		return tcpCheck(args[1], args[2])
	case len(args) == 3 && args[0] == "first-answer":
		return firstAnswer(args[1], args[2])
	case len(args) == 1 && args[0] == "load":
		return load(ctx, os.Stdin, os.Stdout)
	case len(args) == 4 && args[0] == "relay":
		return serveRelay(ctx, args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "api-hole":
		return apiHole(ctx, args[1], args[2])
	case len(args) == 4 && args[0] == "clock-proxy":
		return clockProxy(ctx, args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "tun":
		return holdTUN(ctx, args[1])
	case len(args) == 3 && args[0] == "vpn":
		return vpn(ctx, args[1], args[2], "")
	case len(args) == 4 && args[0] == "vpn":
		return vpn(ctx, args[1], args[2], args[3])
	}
	fmt.Fprint(os.Stderr, usage)
	return errors.New("bad arguments")
}

func numbers(texts []string, do func([]int) error) error {
	var values []int
	for _, text := range texts {
		value, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		values = append(values, value)
	}
	return do(values)
}

func udpEcho(ctx context.Context, addr string) error {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Println("ready")
	buffer := make([]byte, 64<<10)
	for {
		count, peer, err := conn.ReadFrom(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(buffer[:count], peer); err != nil {
			return err
		}
	}
}

// udpCheck gives each datagram five tries: UDP may lose one, and the first
// ones may meet a tunnel that is only being set up.
func udpCheck(addr string, size, count int) error {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	sent, answer, lost := make([]byte, size), make([]byte, 64<<10), 0
	for i := range count {
		rand.Read(sent)
		for try := 1; ; try++ {
			if _, err := conn.Write(sent); err != nil {
				return err
			}
			conn.SetReadDeadline(time.Now().Add(time.Second))
			got, err := conn.Read(answer)
			if err == nil && bytes.Equal(answer[:got], sent) {
				break
			}
			lost++
			if try == 5 {
				return fmt.Errorf("datagram %d of %d bytes to %s: no answer equal to it after %d tries: %w", i, size, addr, try, err)
			}
		}
	}
	fmt.Printf("%d datagrams of %d bytes came back whole, %d repeated\n", count, size, lost)
	return nil
}

func waitHTTP(ctx context.Context, url, timeout string) error {
	limit, err := time.ParseDuration(timeout)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", url, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func tcpSink(ctx context.Context, addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			count, err := io.Copy(io.Discard, conn)
			if err == nil {
				fmt.Fprintln(conn, count)
			}
		}()
	}
}

func tcpSend(addr string, size, streams int) error {
	began := time.Now()
	results := make(chan error, streams)
	for range streams {
		go func() { results <- sendOne(addr, size/streams) }()
	}
	for range streams {
		if err := <-results; err != nil {
			return err
		}
	}
	fmt.Printf("%d %.6f\n", size/streams*streams, time.Since(began).Seconds())
	return nil
}

func sendOne(addr string, size int) error {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	block := make([]byte, 128<<10)
	rand.Read(block)
	for left := size; left > 0; left -= len(block) {
		block = block[:min(left, len(block))]
		if _, err := conn.Write(block); err != nil {
			return err
		}
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	var arrived int
	if _, err := fmt.Fscan(conn, &arrived); err != nil || arrived != size {
		return fmt.Errorf("send to %s: %d of %d bytes arrived: %w", addr, arrived, size, err)
	}
	return nil
}
