// Package hub is the server that a network's nodes meet at: WebSocket
// signaling, STUN and TURN in one process. It is trusted for availability
// only.
//
// It owns the sockets of the nodes, the records and tickets it was given, and
// the relay with its permissions. It checks signatures and who may send what
// to whom; it never opens what is sealed, signs no member's word, and decides
// no admission.
//
//	          ┌ accept ─ handshake ─ conn (reader, writer) ─┐
//	node ─────┤                                             ├─ Bus ─ other conns
//	          └ TURN listener ┬ pion/turn ┬ relay sockets   └─ Store (one file)
//	                          └─ forward ─┘
//
// What outlives a connection is in the Store, what passes between connections
// goes over the Bus. Both are interfaces, so that several processes can be
// one hub; nothing else may assume a single one, except counters, rate limits
// and the relay, whose state is worth nothing elsewhere.
package hub
