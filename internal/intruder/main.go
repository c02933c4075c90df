// Command intruder is a hand-made client for the tests: it asks the control
// plane directly for what its user may not have, and then attacks an agent
// whose public node it was given, with a data plane of its own. With the token
// of the agent's owner the same program gets through, which is how a test knows
// that it would notice.
//
// It reads an order from its standard input and prints a report, both JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
)

// order says what to try, with everything that a thief could have found out.
type order struct {
	URL   string `json:"url"`
	Token string `json:"token"`
	// Agent and Owner are the ids of the victim.
	Agent uuid.UUID `json:"agent"`
	Owner uuid.UUID `json:"owner"`
	// ClientAddr is the address of the owner's client.
	ClientAddr string `json:"client_addr"`
	// Node is the agent's node as JSON; empty: the one that the control plane
	// gives out.
	Node string `json:"node"`
	// Port is the UDP port of the direct attempts, so that they can be counted.
	Port uint16 `json:"port"`
	// Seconds is how long each attempt on the network lasts.
	Seconds int `json:"seconds"`
}

// report says what came of it.
type report struct {
	// Requests by name.
	Requests map[string]answer `json:"requests"`
	// Node is the agent's node, if the control plane gave it out.
	Node string `json:"node"`
	// Relayed and Direct are the attempts on the network.
	Relayed attempt `json:"relayed"`
	Direct  attempt `json:"direct"`
}

// answer of the control plane to one request. Silence is no error and no data.
type answer struct {
	Error string `json:"error"`
	Data  string `json:"data"`
}

// attempt to reach the agent over the network. An error is why it failed.
type attempt struct {
	PingError string `json:"ping_error"`
	PingPath  string `json:"ping_path"` // "relay" or an endpoint
	TCPError  string `json:"tcp_error"`
	Banner    string `json:"banner"`
	Received  uint64 `json:"received"` // bytes of WireGuard packets
	Sent      uint64 `json:"sent"`
}

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "intruder:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	i := &intruder{log: slog.New(slog.DiscardHandler)}
	if err := json.NewDecoder(in).Decode(&i.order); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	var err error
	if i.url, err = url.Parse(i.order.URL); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	result := report{Requests: i.requests(ctx)}
	result.Node = i.node
	given := i.order.Node
	if given == "" {
		given = i.node
	}
	for name, into := range map[string]*attempt{"relayed": &result.Relayed, "direct": &result.Direct} {
		if *into, err = i.attack(ctx, given, name == "direct"); err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(result)
}

// intruder is one run.
type intruder struct {
	order order
	url   *url.URL
	log   *slog.Logger
	// node is the agent's, as JSON, once the control plane has given it out.
	node string
}

func (i *intruder) dial(ctx context.Context, path string, version proto.Version) (*control.Conn, error) {
	dialer := &control.Dialer{URL: i.url, Path: path, Version: version, Token: func() string { return i.order.Token }, Logger: i.log}
	return dialer.Dial(ctx, "")
}

func (i *intruder) patience() time.Duration { return time.Duration(i.order.Seconds) * time.Second }
