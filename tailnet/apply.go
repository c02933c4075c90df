package tailnet

import (
	"context"
	"log/slog"

	"tailscale.com/types/key"
)

// apply carries out changes; the lifecycle calls it in order, never twice at
// the same time.
func (e *Engine) apply(changes []change) {
	var touched []key.NodePublic
	restarted := map[key.NodePublic]bool{}
	kept := map[key.NodePublic]*session{}
	for _, made := range changes {
		if made.node == nil {
			kept[made.old.Key] = e.directory.drop(made.id)
			e.magic.RemovePeer(made.old.ID)
			touched = append(touched, made.old.Key)
			continue
		}
		if made.old != nil && (made.old.ID != made.node.ID || made.old.Key != made.node.Key) {
			kept[made.old.Key] = e.directory.drop(made.id)
			e.magic.RemovePeer(made.old.ID)
			touched = append(touched, made.old.Key)
		} else if made.old != nil && made.old.DiscoKey != made.node.DiscoKey {
			restarted[made.node.Key] = true
		}
		e.directory.put(made.id, made.node, kept[made.node.Key])
		e.magic.UpsertPeer(made.node.View())
		touched = append(touched, made.node.Key)
		e.logger.LogAttrs(context.Background(), slog.LevelDebug, "peer programmed",
			slog.String("peer", made.id.String()), slog.Int("endpoints", len(made.node.Endpoints)))
	}
	for _, public := range touched {
		if restarted[public] {
			// A new disco key means a new process: its old session is dead.
			e.upstream.ResetDevicePeer(public)
			delete(restarted, public)
		}
		e.upstream.SyncDevicePeer(public)
	}
	for _, made := range changes {
		if made.node != nil {
			e.handshakeIfWanted(made.id)
		}
	}
}
