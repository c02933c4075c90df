package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/dns"
	cwproto "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

const (
	snapshotAgents = 10_000
	snapshotEvery  = 100 * time.Millisecond
	// renamed is how many agents have another name in every other snapshot.
	// They are the last ones, so that no generator asks for them.
	renamed = 100
)

// snapshotOf is a control plane's whole list, as bytes.
func snapshotOf(renames string) ([]byte, error) {
	update := &tailnetv2.WorkspaceUpdate{}
	for i := range snapshotAgents {
		name := "main"
		if i >= snapshotAgents-renamed {
			name += renames
		}
		workspaceID, agentID := idOf("ws"+strconv.Itoa(i)), idOf("main.ws"+strconv.Itoa(i)+".me."+suffix)
		update.UpsertedWorkspaces = append(update.UpsertedWorkspaces, &tailnetv2.Workspace{Id: workspaceID[:], Name: "ws" + strconv.Itoa(i)})
		update.UpsertedAgents = append(update.UpsertedAgents, &tailnetv2.Agent{Id: agentID[:], Name: name, WorkspaceId: workspaceID[:]})
	}
	return proto.Marshal(update)
}

// newBusyResolver answers for 10,000 agents. From SIGUSR1 to SIGUSR2 a whole
// snapshot lands ten times a second, on the way that it has in the product.
func newBusyResolver() (*dns.Resolver, error) {
	var snapshots [2][]byte
	for i, renames := range []string{"", "-renamed"} {
		var err error
		if snapshots[i], err = snapshotOf(renames); err != nil {
			return nil, err
		}
	}
	resolver, state := dns.New([]string{suffix}), &workspace.State{}
	land := func(wire []byte) error {
		var update tailnetv2.WorkspaceUpdate
		if err := proto.Unmarshal(wire, &update); err != nil {
			return err
		}
		next, diff, err := state.Apply(&update, true)
		if err != nil {
			return err
		}
		if state.Len() == 0 {
			resolver.Publish(dns.NewTable([]string{suffix}, next.MaxNames(), next.Names("owner", suffix), []netip.Prefix{cwproto.ServicePrefix}))
		} else {
			var changes []dns.Change
			for _, change := range diff.Names("owner", suffix) {
				changes = append(changes, dns.Change{Name: change.Name, Addr: change.After})
			}
			resolver.Publish(resolver.Table().With(changes))
		}
		state = next
		return nil
	}
	if err := land(snapshots[0]); err != nil {
		return nil, err
	}
	go keepLanding(land, snapshots)
	return resolver, nil
}

func keepLanding(land func([]byte) error, snapshots [2][]byte) {
	turned := make(chan os.Signal, 1)
	signal.Notify(turned, syscall.SIGUSR1, syscall.SIGUSR2)
	ticker := time.NewTicker(snapshotEvery)
	defer ticker.Stop()
	landing := false
	for i := 1; ; {
		select {
		case which := <-turned:
			landing = which == syscall.SIGUSR1
		case <-ticker.C:
			if !landing {
				continue
			}
			if err := land(snapshots[i%2]); err != nil {
				fmt.Fprintln(os.Stderr, "node: snapshot:", err)
			}
			i++
		}
	}
}

// packetAnswerer is what answers at the DNS address.
func packetAnswerer(kind string) (func(dst, packet []byte) []byte, error) {
	switch kind {
	case "resolver":
		return newResolver().AnswerPacket, nil
	case "snapshots":
		busy, err := newBusyResolver()
		if err != nil {
			return nil, err
		}
		return busy.AnswerPacket, nil
	case "echo":
		return echo, nil
	}
	return nil, fmt.Errorf("service %q is neither resolver nor snapshots nor echo", kind)
}
