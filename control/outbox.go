package control

import (
	"sync"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// outbox collects what is to be said on one coordination stream. Nobody who
// puts something in waits for the network; one sender takes it out, as a
// stream bears only one. Of several own nodes only the last is kept.
type outbox struct {
	mu      sync.Mutex
	node    *tailnetv2.Node
	tunnels []*tailnetv2.CoordinateRequest
	ready   []*tailnetv2.CoordinateRequest_ReadyForHandshake
	wake    chan struct{}
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

func (o *outbox) setNode(node *tailnetv2.Node) {
	o.put(func() { o.node = node })
}

func (o *outbox) addTunnel(id uuid.UUID) {
	o.put(func() {
		o.tunnels = append(o.tunnels, &tailnetv2.CoordinateRequest{AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: id[:]}})
	})
}

func (o *outbox) removeTunnel(id uuid.UUID) {
	o.put(func() {
		o.tunnels = append(o.tunnels, &tailnetv2.CoordinateRequest{RemoveTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: id[:]}})
	})
}

func (o *outbox) acknowledge(ids [][]byte) {
	o.put(func() {
		for _, id := range ids {
			o.ready = append(o.ready, &tailnetv2.CoordinateRequest_ReadyForHandshake{Id: id})
		}
	})
}

func (o *outbox) put(change func()) {
	o.mu.Lock()
	change()
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take empties the box into requests, in the order in which they must be sent.
func (o *outbox) take() []*tailnetv2.CoordinateRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	var requests []*tailnetv2.CoordinateRequest
	if o.node != nil {
		requests = append(requests, &tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: o.node}})
	}
	requests = append(requests, o.tunnels...)
	if len(o.ready) > 0 {
		requests = append(requests, &tailnetv2.CoordinateRequest{ReadyForHandshake: o.ready})
	}
	o.node, o.tunnels, o.ready = nil, nil, nil
	return requests
}
