package control

import (
	"context"
	"sync"
)

// farewells lets somebody else than the end of the loop say goodbye.
type farewells struct {
	mu   sync.Mutex
	left bool
	now  *coordination // of the connection there is
}

// enter makes a coordination the one that Leave ends; false says that there is
// to be none any more.
func (f *farewells) enter(c *coordination) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left {
		return false
	}
	f.now = c
	return true
}

func (f *farewells) gone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left
}

// Leave is the graceful end's first half: the peers are told that we go, while
// the connection, and Extra on it, go on until the context of Run ends. It
// returns when the control plane has heard it, after the graceful second, or at
// once without a connection. Connections that come later serve Extra alone.
func (l *Loop) Leave(ctx context.Context) {
	l.farewells.mu.Lock()
	l.farewells.left = true
	now := l.farewells.now
	l.farewells.mu.Unlock()
	if now == nil {
		return
	}
	limit, cancel := context.WithTimeout(ctx, graceful)
	defer cancel()
	now.disconnect(limit)
}
