// Package peer keeps one ICE session with each wanted peer: gathering,
// trickle, checks, path choice.
//
// It owns the reflexive addresses and TURN allocations of the node (Underlay),
// the ICE agents, and the choice of the path that carries a peer's packets
// (Peer). It opens no socket: packets leave through a Socket, and what arrives
// is handed to Underlay.Handle. It knows nothing of WireGuard; sealing is
// signaling's.
//
//	      sealed offers, answers, candidates
//	Peer ◄──────────────────────────────────► signaling
//	 │ one generation per offer/answer pair
//	 ▼
//	generation ── ice.Agent ── conn ──► Socket ──► the peer
//	                  ▲          └────► Relay ───► TURN server ──► the peer
//	                  └── mux ◄── Underlay.Handle ◄── the node's socket
//
// Which pairs work is kept here (checks), not taken from the agent's
// nomination: data may flow on a valid pair before it is nominated (RFC 8445
// section 12), and no ICE event ever takes a path away, it is only replaced. What
// a path carries is proved by probes on it (search, sizing).
package peer
