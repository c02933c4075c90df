// Package coordinator introduces peers to each other: it keeps who is
// connected, who opened a tunnel to whom and each peer's newest node, and tells
// tunnel partners about every change (docs of the protocol, section 2).
//
// All state is soft and in memory: peers announce themselves again when they
// reconnect. One lock guards it. Nothing is sent and nobody is asked for
// permission under that lock; a change only appends to the bounded queues of
// those who must hear of it. A peer that lets its queue fill up is removed, and
// costs nobody else anything.
//
// A node update is marshalled once, whatever the number of its receivers, and
// the queues of all of them share the bytes.
//
// # Hardening against hand-made clients
//
// Beyond the rules of the protocol, the coordinator refuses of a client
// (ClientOfAgentAuth, UserAuth):
//
//   - an address outside the two service prefixes, the address of the DNS
//     service, the legacy agent address, and every address that derives from
//     the id of an agent that is connected or is a tunnel destination of that
//     client. A client that took an address while its agent was away is removed
//     when the agent comes;
//   - an allowed_ips entry that is not one of its addresses, so that it can
//     attract no traffic but its own;
//   - a key or disco key that does not parse, or a node above MaxNodeSize.
//
// An agent learns of nobody but the clients that hold a tunnel to it, and a
// tunnel is only made after its Auth agreed; so a stranger gets no node. For
// packets there is MayRelay, which the relay asks: it lets frames pass only
// between the keys of tunnel partners.
package coordinator
