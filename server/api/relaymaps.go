package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// mapPingLimit is how long an old client may take to answer a ping.
const mapPingLimit = 30 * time.Second

var errMapPing = errors.New("ping failed")

// serveRelayMaps is the stream of relay maps for clients that are older than
// the RPC of that purpose: each message is one map in JSON, the first at once and
// then whenever it has changed (docs of the protocol, 1.9).
func (s *Server) serveRelayMaps(w http.ResponseWriter, r *http.Request) {
	_, token, err := s.user(r)
	if err == nil {
		err = s.admit(holder(token), token.UserID)
	}
	var entry *connection
	if err == nil {
		entry, err = s.live.enter(r.Context(), token, uuid.New())
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer s.live.exit(entry)
	conn, err := accept(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// Nothing is expected of the client but pongs and its close frame. The end of
	// this context closes the connection without a word.
	ctx := conn.CloseRead(entry.ctx)
	var pings sync.WaitGroup
	defer pings.Wait()
	defer entry.cancel(nil)
	pings.Go(func() { keepAlive(entry.ctx, conn.Ping, mapPingLimit, func() { entry.part(errMapPing) }) })
	err = s.writeRelayMaps(ctx, entry.leave, conn)
	if entry.leave.Err() != nil {
		err = entry.cause()
	}
	code, reason := closeCode(err)
	if errors.Is(err, errMapPing) {
		code = websocket.StatusGoingAway
	}
	_ = conn.Close(code, reason) // the peer may be gone already
}

// writeRelayMaps returns nil when there is no map any more, the client has gone,
// or it is to leave.
func (s *Server) writeRelayMaps(ctx, leave context.Context, conn *websocket.Conn) error {
	ticker := time.NewTicker(cmp.Or(s.service.RelayMapPeriod, tailnetsvc.DefaultRelayMapPeriod))
	defer ticker.Stop()
	var last proto.RelayMap
	for {
		current := s.config.RelayMap()
		if current.DERPMap == nil {
			return nil
		}
		if !current.Equal(last) {
			message, err := json.Marshal(relayMapBody{current})
			if err != nil {
				return fmt.Errorf("encode relay map: %w", err)
			}
			if err := conn.Write(ctx, websocket.MessageBinary, message); err != nil {
				return nil // it has gone
			}
			last = current
		}
		select {
		case <-ctx.Done():
			return nil
		case <-leave.Done():
			return nil
		case <-ticker.C:
		}
	}
}
