// Package tunnel is this machine in one network: a Node assembles identity,
// hub connection, ICE sessions and interface, and carries IP packets between
// the interface and the peers through WireGuard.
//
// It owns the WireGuard device, the UDP sockets under it (Bind), and which
// path carries a peer's packets. It never gathers or checks candidates (package
// peer does), never signs (package signaling does), and never touches other
// interfaces (package tun makes ours).
//
//	out: TUN ─► WireGuard device ─► Bind.Send(Endpoint) ─► its path ─► socket or relay
//	in:  socket ─► Bind demux ─┬─► WireGuard device ─► TUN
//	                           ├─► STUN, ChannelData ─► peer.Underlay ─┐
//	                           └─► sealed datagrams                    │
//	     relay's packets ◄─────────────────────────────────────────────┘
package tunnel
