// Package proto holds what both ends of the wire must agree on: the messages
// (tailnetv2, agentv2, localv1), the version rules, the way addresses and node
// ids follow from a UUID, and the conversion of relay maps. It imports nothing
// else of ours.
package proto
