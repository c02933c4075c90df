package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/server/relay"
)

// serveRelay is our relay without a control plane to ask who may talk to whom.
func serveRelay(ctx context.Context, addr, stunAddr, keyFile string) error {
	private, err := keptKey(keyFile)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	stun, err := relay.ListenSTUN(stunAddr, logger)
	if err != nil {
		return err
	}
	defer stun.Close()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	serving := relay.New(relay.Config{Logger: logger, Key: private})
	server := &http.Server{Handler: serving, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	fmt.Println("ready")
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	flush, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	return serving.Close(flush)
}

func keptKey(file string) (key.NodePrivate, error) {
	var private key.NodePrivate
	text, err := os.ReadFile(file)
	switch {
	case err == nil:
		return private, private.UnmarshalText(text)
	case !errors.Is(err, fs.ErrNotExist):
		return private, err
	}
	private = key.NewNode()
	if text, err = private.MarshalText(); err != nil {
		return private, err
	}
	return private, os.WriteFile(file, text, 0o600)
}

// through are the requests that apiHole forwards.
var through = []string{"/api/v2/tailnet", "/derp"}

// apiHole forwards connections whose first request is one of those; of others
// it reads what comes and says nothing.
func apiHole(ctx context.Context, addr, target string) error {
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
			if err := forward(conn, target); err != nil {
				fmt.Fprintln(os.Stderr, "api-hole:", err)
			}
		}()
	}
}

func forward(conn net.Conn, target string) error {
	reader := bufio.NewReader(conn)
	first, err := reader.ReadString('\n')
	if err != nil {
		return fmt.Errorf("read request line: %w", err)
	}
	_, path, _ := strings.Cut(first, " ")
	passes := false
	for _, prefix := range through {
		passes = passes || strings.HasPrefix(path, prefix)
	}
	if !passes {
		fmt.Println("swallowed", strings.TrimSpace(first))
		_, err := io.Copy(io.Discard, reader)
		return err
	}
	fmt.Println("forwarded", strings.TrimSpace(strings.SplitN(first, "?", 2)[0]))
	far, err := net.Dial("tcp", target)
	if err != nil {
		return err
	}
	defer far.Close()
	if _, err := io.WriteString(far, first); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(far, reader) // the end of either side is the end of both
		far.Close()
	}()
	_, _ = io.Copy(conn, far)
	return nil
}
