package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// attack programs a data plane of its own with the agent's node and tries to
// get an answer, through the relay alone or with the endpoints too. The own
// node is announced, as the relay demands. The tunnel is asked for only by
// somebody to whom it was granted before: a refusal would end the announcement.
func (i *intruder) attack(ctx context.Context, given string, direct bool) (attempt, error) {
	if given == "" {
		return attempt{}, errors.New("attack agent: no node of it is known")
	}
	node, target, err := readNode(given, direct)
	if err != nil {
		return attempt{}, err
	}
	conn, err := i.dial(ctx, control.UserPath, proto.V20)
	if err != nil {
		return attempt{}, err
	}
	defer conn.Close()
	client := tailnetv2.NewDRPCTailnetClient(conn)
	relays, err := relayMap(ctx, client)
	if err != nil {
		return attempt{}, err
	}
	self := uuid.New()
	identity := tailnet.NewIdentity()
	identity.Port = i.order.Port
	network, err := userspace.New(userspace.Config{
		Logger: i.log, Identity: identity, NodeID: proto.NodeIDFromUUID(self), DirectDisabled: !direct,
		Addresses: []netip.Prefix{netip.PrefixFrom(proto.AddrFromUUID(proto.ServicePrefix, self), 128)},
	})
	if err != nil {
		return attempt{}, err
	}
	defer network.Close()
	engine := network.Engine()
	if got := engine.Identity().Port; direct && got != i.order.Port {
		return attempt{}, fmt.Errorf("attack agent: UDP port is %d, want %d", got, i.order.Port)
	}
	engine.SetRelayMap(relays.RewriteEmbedded(i.url))
	engine.SetControlConnected(true)
	announced, err := i.announce(ctx, client, engine)
	if err != nil {
		return attempt{}, err
	}
	select {
	case <-announced:
	case <-time.After(i.patience()):
		return attempt{}, errors.New("attack agent: the own node has no relay")
	}
	agent := i.order.Agent
	engine.SetTunnelDestination(agent)
	engine.Handshake([]uuid.UUID{agent})
	// The first word of an agent waits for its readiness; both are given here.
	for _, update := range []*tailnetv2.CoordinateResponse_PeerUpdate{
		{Id: agent[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: node},
		{Id: agent[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE},
	} {
		if err := engine.UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate{update}); err != nil {
			return attempt{}, err
		}
	}
	return i.try(ctx, network, target, direct), nil
}

// announce tells the control plane of the own node at each change. The channel
// closes after the first time.
func (i *intruder) announce(ctx context.Context, client tailnetv2.Client20, engine *tailnet.Engine) (<-chan struct{}, error) {
	stream, err := client.Coordinate(ctx)
	if err != nil {
		return nil, fmt.Errorf("announce own node: %w", err)
	}
	agent := i.order.Agent
	first := make(chan struct{})
	var once sync.Once
	engine.SetNodeCallback(func(node *tailnetv2.Node) {
		request := &tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: node}}
		if i.node != "" {
			request.AddTunnel = &tailnetv2.CoordinateRequest_Tunnel{Id: agent[:]}
		}
		if stream.Send(request) == nil {
			once.Do(func() { close(first) })
		}
	})
	return first, nil
}

// try pings by disco and connects to SSH, both until there is an answer or the
// patience ends.
func (i *intruder) try(ctx context.Context, network *userspace.Net, target netip.Addr, direct bool) attempt {
	ctx, cancel := context.WithTimeout(ctx, i.patience())
	defer cancel()
	var result attempt
	var both sync.WaitGroup
	both.Go(func() {
		for {
			answer, err := network.Engine().Ping(ctx, target)
			if err != nil {
				if result.PingPath == "" {
					result.PingError = err.Error()
				}
				return
			}
			result.PingPath = "relay"
			if answer.Direct {
				result.PingPath = answer.Endpoint.String()
			}
			if answer.Direct == direct {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	both.Go(func() {
		banner, err := connect(ctx, network, target)
		if result.Banner = banner; err != nil {
			result.TCPError = err.Error()
		}
	})
	both.Wait()
	status, _ := network.Engine().Peer(i.order.Agent)
	result.Received, result.Sent = status.RxBytes, status.TxBytes
	return result
}

// connect returns the first bytes of an SSH server.
func connect(ctx context.Context, network *userspace.Net, target netip.Addr) (string, error) {
	conn, err := network.DialTCP(ctx, netip.AddrPortFrom(target, 22))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	banner := make([]byte, 4)
	n, err := conn.Read(banner)
	return string(banner[:n]), err
}
