package peer

import (
	"net/netip"
	"time"
)

// State is the life of a peer as users see it.
type State string

// The states. A peer is connected while its path was proved lately, by ICE or
// by the tunnel's own packets.
const (
	Idle         State = "idle"
	Signaling    State = "signaling" // an offer waits for its answer
	Checking     State = "checking"
	Connected    State = "connected"
	Disconnected State = "disconnected" // there was a path
	Failed       State = "failed"       // no way was found; it will be tried again
)

// PathKind says what carries a peer's packets.
type PathKind string

// The kinds of path. One that leads to a relay of the peer is relayed, too.
const (
	PathDirect  PathKind = "direct"
	PathRelayed PathKind = "relayed"
	PathNone    PathKind = "none"
)

// Endpoint is one end of a path.
type Endpoint struct {
	Type CandidateType // for the remote end: as the peer announced it, else prflx
	Addr netip.AddrPort
}

// Snapshot is how things stand with a peer.
type Snapshot struct {
	State         State
	ICE           string        // new, checking, connected, completed, disconnected; empty: no session
	Path          PathKind      // what carries data, if anything does
	Local, Remote Endpoint      // of the path; zero for PathNone
	RTT           time.Duration // of the newest check on the path; zero: not known

	// Suspect says that data waits for an answer that is late: the path counts
	// as doubtful, and every other way is being tried. Unheard, that this is the
	// peer's word: it does not hear what is sent.
	Suspect, Unheard bool

	// Avoided is since when a direct pair is not the path though it answers
	// checks, because no data passes; zero: there is none such.
	Avoided time.Time

	Offered time.Time // when the offer was made that waits for its answer; zero: none does
	Next    time.Time // when the next session is tried; zero: none is, as things stand
	Resting bool      // there are no checks, see Rest

	// Of a path that is relayed.
	Relayed      time.Time // no check of a direct pair has been answered since
	DirectValid  bool      // a direct pair answers checks now
	RemoteHidden bool      // the peer has announced relays alone, and all that it has
	Apart        bool      // it has other addresses, but none of an address family of this node's

	Pairs, Checked int // of Failed: pairs there were, and those that were checked

	RemoteMapping Mapping // of the peer's NAT, as it says
	RemoteBlocked bool    // UDP is, at the peer, as it says
}

// publish makes the loop's state visible to Snapshot.
func (l *loop) publish(now time.Time) {
	s := Snapshot{State: l.state(now), Path: PathNone}
	switch {
	case l.current != nil:
		s.ICE = l.current.state(now)
	case l.next != nil:
		s.ICE = l.next.state(now)
	}
	if l.hasPath {
		s.Path, s.RTT = l.path.kind(), l.path.rtt
		c := l.path.key.conn
		s.Local = Endpoint{Type: Host, Addr: c.local}
		if c.relay != nil {
			s.Local.Type = Relayed
		}
		s.Remote = Endpoint{Type: l.path.remoteType, Addr: l.path.key.remote}
	}
	l.explain(&s, now)
	l.p.snap.Store(&s)
}

func (l *loop) state(now time.Time) State {
	switch {
	case l.hasPath && (l.resting != nil || l.proved(now) || l.silence(now) < silent):
		return Connected
	case l.next != nil && !l.next.started.IsZero():
		return Checking
	case l.current != nil:
		return Disconnected
	case l.next != nil:
		return Signaling
	case l.online && l.retry.fails > 0:
		return Failed
	}
	return Idle
}
