package peer

import (
	"net/netip"
	"time"
)

// Tunnel is what runs over the paths of one Peer, and what says whether they work:
// a path is worth what data passes on it, whatever ICE thinks of it. All methods
// are safe for concurrent use and do not block.
type Tunnel interface {
	// Waiting returns since when data waits for an answer: when the first packet
	// left that no authentic one has followed. Zero: none waits. The next packet
	// that leaves while none waits is to be told by Peer.Sending.
	Waiting() time.Time

	// Answered ends the wait: the peer has said that it hears what is sent.
	Answered()

	// Last returns when an authentic packet last came. Zero: never. The first after a
	// while is to be told by Peer.Receiving.
	Last() time.Time

	// Heard returns when the peer was last heard by a path: an authentic packet of
	// the tunnel came from the address from, over relay (nil: straight). Zero:
	// never. It is called from the receive goroutine.
	Heard(relay *Relay, from netip.AddrPort) time.Time

	// Probe sends a packet of its own through the tunnel, as small as any.
	Probe()

	// Spread has small packets leave by these paths, too, besides the one that
	// OnPath told. It is called from Run's goroutine, at each change.
	Spread([]Path)
}

// noTunnel is a Tunnel that says nothing: then checks alone prove paths.
type noTunnel struct{}

func (noTunnel) Waiting() time.Time                     { return time.Time{} }
func (noTunnel) Last() time.Time                        { return time.Time{} }
func (noTunnel) Answered()                              {}
func (noTunnel) Heard(*Relay, netip.AddrPort) time.Time { return time.Time{} }
func (noTunnel) Probe()                                 {}
func (noTunnel) Spread([]Path)                          {}
