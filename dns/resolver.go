package dns

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// Resolver answers queries from the table that was published last. All methods
// may be called at any time from any goroutine; the answering ones take no
// lock.
type Resolver struct {
	current atomic.Pointer[state]
	reverse zones      // of our prefixes, which nobody else has names for
	writing sync.Mutex // serialises the replacement of current
}

// state is what a query sees: one consistent pair.
type state struct {
	table   *Table // nil before the first Publish
	pending zones  // suffixes that are ours even if the table does not know them yet
}

// New returns a resolver that answers SERVFAIL inside the suffixes until the
// first [Resolver.Publish]: a client then asks again, whereas an NXDOMAIN would
// be believed. The reverse names of our own prefixes are never [Resolver.Foreign].
func New(suffixes []string, own ...netip.Prefix) *Resolver {
	r := &Resolver{reverse: reverseZones(own)}
	r.current.Store(&state{pending: newZones(suffixes)})
	return r
}

// Publish makes the table the one that is answered from. Nil takes the names
// away again, as before the first call.
func (r *Resolver) Publish(t *Table) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.current.Store(&state{table: t, pending: r.current.Load().pending})
}

// SetSuffixes says for which suffixes the resolver is going to have names. The
// table that is published goes on being answered from; names that are inside
// these suffixes but outside the table's get SERVFAIL until a table that covers
// them is published.
func (r *Resolver) SetSuffixes(suffixes []string) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.current.Store(&state{table: r.current.Load().table, pending: newZones(suffixes)})
}

// Table is the table published last, nil before the first.
func (r *Resolver) Table() *Table { return r.current.Load().table }

// onionZone never has names (RFC 7686), and no query for it may go further.
var onionZone = newZones([]string{"onion"})

// verdict is the answer to a query before it is written down.
type verdict struct {
	rcode  int
	answer uint16 // type of the one answer record, 0 for none
	addr   [16]byte
	target string // wire name that a PTR names
	soa    bool   // in the answer section if answer is typeSOA, else in authority
	zone   int    // offset in the question name at which the SOA's owner begins
	// foreign says that the name is none of our business.
	foreign bool
}

func (s *state) decide(q *query, v *verdict) {
	name := q.name[:q.nameLen]
	if s.table != nil && s.table.decide(q, name, v) {
		return
	}
	if _, ok := s.pending.find(name, &q.starts); ok {
		v.rcode = rcodeServFail
		return
	}
	if offset, ok := onionZone.find(name, &q.starts); ok {
		v.rcode, v.soa, v.zone = rcodeNXDomain, true, offset
		return
	}
	v.rcode, v.foreign = rcodeRefused, true
}

// decide reports false for what the table is not authoritative for.
func (t *Table) decide(q *query, name []byte, v *verdict) bool {
	if offset, ok := t.zones.find(name, &q.starts); ok {
		v.zone = offset
		switch e := t.names.byName(name); {
		case e != nil && (q.qtype == typeAAAA || q.qtype == typeANY):
			v.answer, v.addr = typeAAAA, e.addr
		case e != nil:
			v.soa = true
		case offset == 0: // the suffix itself exists, as the SOA's owner
			v.soa = true
			if q.qtype == typeSOA || q.qtype == typeANY {
				v.answer = typeSOA
			}
		default:
			v.soa, v.rcode = true, rcodeNXDomain
		}
		return true
	}
	if q.qtype != typePTR {
		return false
	}
	addr, ok := reverseAddr(name)
	if !ok {
		return false
	}
	for _, prefix := range t.prefixes {
		if !prefix.Contains(netip.AddrFrom16(addr)) {
			continue
		}
		if target, ok := t.addrs.shortest(&addr); ok {
			v.answer, v.target = typePTR, target
		} else {
			v.soa, v.rcode = true, rcodeNXDomain
			v.zone = 2 * (reverseNibbles - prefix.Bits()/4)
		}
		return true
	}
	return false
}
