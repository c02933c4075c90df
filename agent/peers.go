package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	peersName = "peers.json"
	// maxKeptPeers bounds the file; the others notice by themselves.
	maxKeptPeers = 256
	// peersPause keeps a crowd of new peers from writing the file once for each.
	peersPause = time.Second
	// rememberPeers is how long a peer is kept that had a session with the process
	// before and none with this one: as long as the other side keeps one that it has
	// lost (docs of the protocol, 3.8).
	rememberPeers = 15 * time.Minute
)

// Desktops keep their WireGuard sessions with an agent that was killed, and give
// them up after 15 s of silence only (WireGuard's REKEY_TIMEOUT and
// KEEPALIVE_TIMEOUT). So the agent keeps the ids of those that it has sessions
// with, and the next process shakes hands with them when it hears of them.

// Peers are those that the process before had sessions with.
func (s *State) Peers() ([]uuid.UUID, error) {
	content, err := s.read(peersName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read peers: %w", err)
	}
	var peers []uuid.UUID
	if err := json.Unmarshal(content, &peers); err != nil {
		return nil, fmt.Errorf("read peers: %s: %w", s.path(peersName), err)
	}
	return peers[:min(len(peers), maxKeptPeers)], nil
}

// SetPeers stores them.
func (s *State) SetPeers(peers []uuid.UUID) error {
	content, err := json.Marshal(peers)
	if err != nil {
		return fmt.Errorf("write peers: %w", err)
	}
	return writeFile(s.path(peersName), append(content, '\n'))
}

// greetPeers renews the sessions of the process before on a new network. A file
// that cannot be read costs its 15 s, and the next session replaces it.
func (a *agent) greetPeers(created network) {
	peers, err := a.state.Peers()
	if err != nil {
		a.log.Warn("peers of the last run are not known; their first connection may wait for 15 s", slog.String("error", err.Error()))
	}
	created.Handshake(peers)
}

// sessionBegan is called by the network, under its locks.
func (a *agent) sessionBegan() {
	select {
	case a.began <- struct{}{}:
	default:
	}
}

// keepPeers writes down whom there are sessions with, as they begin, and for a
// while whom the process before had some with: it may end before they come.
func (a *agent) keepPeers(ctx context.Context) {
	before, _ := a.state.Peers() // greetPeers says what is wrong with them
	began, kept := time.Now(), []uuid.UUID(nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.began:
		}
		a.mu.Lock()
		current := a.network
		a.mu.Unlock()
		if current == nil {
			continue
		}
		if time.Since(began) > rememberPeers {
			before = nil
		}
		if peers := peersToKeep(current.ActivePeers(), before); !slices.Equal(peers, kept) {
			if err := a.state.SetPeers(peers); err != nil {
				a.log.Warn("peers not kept; after a crash their first connection may wait for 15 s", slog.String("error", err.Error()))
			} else {
				kept = peers
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(peersPause):
		}
	}
}

// peersToKeep are the active ones, and after them those of before while there is
// room.
func peersToKeep(active, before []uuid.UUID) []uuid.UUID {
	slices.SortFunc(active, func(x, y uuid.UUID) int { return slices.Compare(x[:], y[:]) })
	for _, each := range before {
		if !slices.Contains(active, each) {
			active = append(active, each)
		}
	}
	return active[:min(len(active), maxKeptPeers)]
}
