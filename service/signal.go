package service

import "sync"

// broadcast wakes everybody who waits, any number of times. The zero value is
// ready.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed by the next wake. Take it before looking at what it is about.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
