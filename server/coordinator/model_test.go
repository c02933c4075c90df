package coordinator

import (
	"fmt"
	"maps"
	"slices"
)

// world is the simple model of the coordinator. It keeps only facts (who is
// connected with which node, who opened a tunnel to whom, which pairs a removed
// tunnel has silenced) and works out from scratch what each peer must believe.
// It knows nothing of queues, of what was sent, or of links.
type world struct {
	peers   map[string]*citizen
	tunnels map[[2]string]bool // source, destination
	// hushed holds (receiver, about): one of two mutual tunnels was removed, and
	// the receiver hears nothing until the other announces itself again.
	hushed map[[2]string]bool
	kinds  map[[2]string]string // how (receiver, about) last ended: LOST or DISCONNECTED
	ended  map[string]string    // last words to those that the coordinator has removed
	// serves holds (receiver, about): the receiver serves the other from before that was lost.
	serves map[[2]string]bool
	// done by one request: those who must be removed at its end, and what they said.
	doomed []string
}

// citizen is a connected peer.
type citizen struct {
	version int // of its node; 0: none yet
	// inherited is who still believes which node of the connection that this one
	// took over.
	inherited map[string]int
	announced bool           // it, or one that it took over from, had a node
	gone      map[string]int // how often it heard of the end of whom it did not believe in
	jammed    bool           // does not read, and its queue is full
	readies   []string
	errors    int // that did not end it
}

func newWorld() *world {
	return &world{
		peers: map[string]*citizen{}, tunnels: map[[2]string]bool{}, hushed: map[[2]string]bool{},
		kinds: map[[2]string]string{}, ended: map[string]string{}, serves: map[[2]string]bool{},
	}
}

func (w *world) partners(a, b string) bool {
	return w.tunnels[[2]string{a, b}] || w.tunnels[[2]string{b, a}]
}

// beliefs is the version of each node that a peer must know, from scratch.
func (w *world) beliefs(of string) map[string]int {
	known := map[string]int{}
	for about, peer := range w.peers {
		switch {
		case !w.partners(of, about) || w.hushed[[2]string{of, about}]:
		case peer.version > 0:
			known[about] = peer.version
		case peer.inherited[of] > 0:
			known[about] = peer.inherited[of]
		}
	}
	return known
}

// change makes a change of the facts and follows its consequences: whoever
// came to believe something else has been sent a message, and whoever could not
// take it is to go.
func (w *world) change(kind string, do func()) {
	before := map[string]map[string]int{}
	for name := range w.peers {
		before[name] = w.beliefs(name)
	}
	do()
	for name, known := range before {
		peer := w.peers[name]
		if peer == nil {
			continue
		}
		after := w.beliefs(name)
		for about := range known {
			if after[about] == 0 {
				w.kinds[[2]string{name, about}] = kind
			}
		}
		if !maps.Equal(known, after) {
			w.told(name)
		}
	}
}

// told notes that something was sent to a peer.
func (w *world) told(name string) {
	if w.peers[name].jammed && !slices.Contains(w.doomed, name) {
		w.doomed = append(w.doomed, name)
	}
}

// settle removes those who could not take what they were sent.
func (w *world) settle() {
	for len(w.doomed) > 0 {
		name := w.doomed[0]
		w.doomed = w.doomed[1:]
		if w.peers[name] != nil {
			w.leave(name, "DISCONNECTED", "failed to update tunnel peer mapping")
		}
	}
}

func (w *world) connect(name string) {
	fresh := &citizen{inherited: map[string]int{}, gone: map[string]int{}}
	if w.peers[name] != nil {
		fresh.announced = w.peers[name].announced
		for receiver := range w.peers {
			if version := w.beliefs(receiver)[name]; version > 0 {
				fresh.inherited[receiver] = version
			}
		}
	}
	w.doomed = slices.DeleteFunc(w.doomed, func(other string) bool { return other == name })
	w.peers[name] = fresh
	w.forget(name)
	delete(w.ended, name)
}

// forget drops what a peer that has left or come anew knew of others.
func (w *world) forget(name string) {
	for about, peer := range w.peers {
		delete(peer.inherited, name)
		delete(w.hushed, [2]string{name, about})
		delete(w.kinds, [2]string{name, about})
	}
	maps.DeleteFunc(w.hushed, func(pair [2]string, _ bool) bool { return pair[0] == name })
	maps.DeleteFunc(w.kinds, func(pair [2]string, _ string) bool { return pair[0] == name })
}

func (w *world) update(name string, version int) {
	w.change("", func() {
		w.peers[name].version, w.peers[name].inherited, w.peers[name].announced = version, map[string]int{}, true
		for receiver := range w.peers {
			delete(w.hushed, [2]string{receiver, name})
		}
	})
}

func (w *world) open(from, to string) {
	if from == to {
		return
	}
	w.change("", func() {
		w.tunnels[[2]string{from, to}] = true
		for _, pair := range [][2]string{{from, to}, {to, from}} {
			// Only who has a node can be introduced.
			if peer := w.peers[pair[1]]; peer != nil && peer.version > 0 {
				delete(w.hushed, pair)
			}
		}
	})
}

func (w *world) shut(from, to string) {
	if !w.tunnels[[2]string{from, to}] {
		return
	}
	delete(w.serves, [2]string{from, to})
	delete(w.serves, [2]string{to, from})
	w.change("DISCONNECTED", func() {
		delete(w.tunnels, [2]string{from, to})
		for _, pair := range [][2]string{{from, to}, {to, from}} {
			w.hushed[pair] = w.tunnels[[2]string{to, from}]
			if peer := w.peers[pair[1]]; peer != nil {
				delete(peer.inherited, pair[0])
			}
		}
	})
}

// leave ends a peer; text is what it hears last, "" for a plain end.
func (w *world) leave(name, kind, text string) {
	if kind == "DISCONNECTED" {
		w.revoke(name)
	} else if w.peers[name].announced {
		for receiver := range w.names() {
			if w.partners(receiver, name) {
				w.serves[[2]string{receiver, name}] = true
			}
		}
	}
	w.change(kind, func() {
		delete(w.peers, name)
		w.forget(name)
		maps.DeleteFunc(w.tunnels, func(pair [2]string, _ bool) bool { return pair[0] == name })
		// Whoever is silenced about it hears of its next node.
		maps.DeleteFunc(w.hushed, func(pair [2]string, _ bool) bool { return pair[1] == name })
	})
	w.ended[name] = text
}

// names are all that a tunnel leads from or to, connected or not.
func (w *world) names() map[string]bool {
	found := map[string]bool{}
	for pair := range w.tunnels {
		found[pair[0]], found[pair[1]] = true, true
	}
	return found
}

// revoke tells those that serve a peer from before it was lost, and do not
// believe in it now: those hear by the end of that.
func (w *world) revoke(name string) {
	for receiver, peer := range w.peers {
		if w.serves[[2]string{receiver, name}] && w.beliefs(receiver)[name] == 0 {
			peer.gone[name]++
			w.kinds[[2]string{receiver, name}] = "DISCONNECTED"
			w.told(receiver)
		}
	}
	maps.DeleteFunc(w.serves, func(pair [2]string, _ bool) bool { return pair[1] == name })
}

func (w *world) ready(from, to string) {
	switch {
	case !w.partners(from, to):
		w.peers[from].errors++
		w.told(from)
	case w.peers[to] != nil:
		w.peers[to].readies = append(w.peers[to].readies, from)
		w.told(to)
	}
}

// view is what a peer has made of its responses.
type view struct {
	nodes   map[string]int    // about -> version
	kinds   map[string]string // about -> LOST or DISCONNECTED, as long as there is no node
	gone    map[string]int    // about -> how often it ended without having been there
	readies []string
	errors  int
	last    string // last error
	over    bool
}

func newView() *view {
	return &view{nodes: map[string]int{}, kinds: map[string]string{}, gone: map[string]int{}}
}

// against says in what a view is not what the model demands.
func (w *world) against(name string, got *view) error {
	peer := w.peers[name]
	if peer == nil {
		if want := w.ended[name]; !got.over || got.last != want {
			return fmt.Errorf("%s has left: over %v with last words %q, want %q", name, got.over, got.last, want)
		}
		return nil
	}
	if got.over {
		return fmt.Errorf("%s is connected, and its stream ended with %q", name, got.last)
	}
	if want := w.beliefs(name); !maps.Equal(got.nodes, want) {
		return fmt.Errorf("%s believes %v, want %v", name, got.nodes, want)
	}
	if !maps.Equal(got.gone, peer.gone) {
		return fmt.Errorf("%s heard of the end of those that it serves from before: %v, want %v", name, got.gone, peer.gone)
	}
	for about, kind := range got.kinds {
		if want := w.kinds[[2]string{name, about}]; kind != want {
			return fmt.Errorf("%s heard %s of %s, want %s", name, kind, about, want)
		}
	}
	if !slices.Equal(got.readies, peer.readies) || got.errors != peer.errors {
		return fmt.Errorf("%s heard ready from %v and %d errors, want %v and %d", name, got.readies, got.errors, peer.readies, peer.errors)
	}
	return nil
}
