// Package dns answers for the suffixes of a deployment and for nothing else.
//
// A [Table] is an immutable set of names. A [Resolver] holds the current one
// behind an atomic pointer: whoever learns of a change builds the next table
// with [Table.With], at a cost in proportion to the change, and publishes it;
// readers never wait and never allocate. [Resolver.Answer] takes and gives DNS
// messages, [Resolver.AnswerPacket] whole IPv6 packets as they come out of the
// TUN device.
//
// The resolver never forwards: outside of its suffixes it refuses, because the
// operating system sends it only what is inside. On hosts that can only send it
// everything, its owner may ask dns/forward for what is [Resolver.Foreign].
package dns
