package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

func tcpEcho(ctx context.Context, addr string) error {
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
			_, _ = io.Copy(conn, conn) // its far side says what was wrong
		}()
	}
}

// tcpCheck tries again until the time is over: a dial that is lost is not
// waited for longer than a second.
func tcpCheck(addr, timeout string) error {
	limit, err := time.ParseDuration(timeout)
	if err != nil {
		return err
	}
	began := time.Now()
	last := errors.New("nothing was tried")
	for time.Since(began) < limit {
		if last = echoOnce(addr); last == nil {
			fmt.Printf("%.3f\n", time.Since(began).Seconds())
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("check %s: %w", addr, last)
}

func echoOnce(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("%q came back", line)
	}
	return err
}
