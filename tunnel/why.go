package tunnel

import (
	"fmt"
	"time"

	"github.com/p2ptun/p2ptun/peer"
)

// standing is what there is to know of how things stand with a peer. Its why is
// made of it, and of nothing else.
type standing struct {
	now   time.Time
	name  string
	state peer.State
	path  peer.PathKind
	ice   peer.Snapshot // zero for an idle member
	heard time.Time     // the newest authenticated packet of this session; zero: none

	hub     bool // this machine is connected to it
	way     bool // the peer can be told something without it
	online  bool // as the hub says
	offline time.Time

	relayOnly bool         // here
	mapping   peer.Mapping // of the NAT here
	blocked   bool         // UDP is, here
}

// why says in one sentence what holds the peer back from a direct path that
// carries data; "": nothing does. What is not known is not said.
func (s standing) why() string {
	switch {
	case s.state == peer.Connected && s.path == peer.PathRelayed:
		return "relayed: " + s.whyRelayed()
	case s.state == peer.Connected:
		return ""
	case s.ice.Suspect:
		return s.whySuspect()
	case !s.hub && !s.way && s.ice.State != peer.Connected:
		return "not connected to the hub, and no other way known"
	case !s.online && !s.way && s.ice.State != peer.Connected:
		return s.whyOffline()
	}
	return s.whyNot()
}

// whyRelayed is for a relayed path that carries data.
func (s standing) whyRelayed() string {
	const unanswered = "no direct check has been answered"
	here, there := s.mapping.PerDestination(), s.ice.RemoteMapping.PerDestination()
	switch {
	case s.relayOnly:
		return "--relay-only is set here"
	case s.blocked:
		return udpBlocked
	case s.ice.RemoteBlocked:
		return s.blockedThere()
	case !s.ice.Avoided.IsZero():
		return "the direct path answers checks but carries no data; avoided since " + s.clock(s.ice.Avoided)
	case s.ice.DirectValid:
		return "a direct pair of addresses has just answered"
	case s.ice.RemoteHidden:
		return s.name + " offers no address that can be reached directly: relays alone"
	case s.ice.Apart:
		return "one of the two has IPv4 alone and the other IPv6 alone"
	case here && there:
		return "both NATs map per destination (symmetric)"
	case here:
		return "this machine's NAT maps per destination (symmetric); " + unanswered
	case there:
		return s.name + "'s NAT maps per destination (symmetric); " + unanswered
	case s.ice.Resting:
		return "no direct check was answered before the tunnel came to rest"
	case s.ice.Relayed.IsZero():
		return unanswered
	}
	return fmt.Sprintf("%s in %s%s", unanswered, span(s.now.Sub(s.ice.Relayed)), s.next("trying again"))
}

func (s standing) whyOffline() string {
	if s.offline.IsZero() {
		return "offline, as the hub says"
	}
	return "offline since " + s.clock(s.offline) + " as the hub says"
}

// udpBlocked is a fact as long as nothing has come back from any server.
const udpBlocked = "UDP is blocked here: neither the hub nor a relay answers over it"

func (s standing) blockedThere() string { return "UDP is blocked at " + s.name + ", as it says" }

// whyNot is for a peer that nothing but itself keeps from being connected.
func (s standing) whyNot() string {
	if s.blocked && s.state != peer.Idle && s.state != peer.Signaling {
		return udpBlocked
	}
	if s.ice.RemoteBlocked && (s.state == peer.Failed || s.state == peer.Checking) {
		return s.blockedThere()
	}
	switch s.state {
	case peer.Idle:
		if s.ice.Next.IsZero() {
			return "idle: connects with the first packet"
		}
		return "no session yet" + s.next("one is offered")
	case peer.Signaling:
		return fmt.Sprintf("no answer to the offer, which was made %s ago", span(s.now.Sub(s.ice.Offered)))
	case peer.Failed:
		return "failed: " + s.tried() + s.next("trying again")
	}
	switch {
	case s.ice.Resting:
		return "nothing heard for " + span(s.now.Sub(s.heard)) + s.next("trying again")
	case s.ice.State == peer.Connected && s.heard.IsZero():
		return "addresses answer checks; nothing has come through the tunnel yet"
	case s.ice.State == peer.Connected:
		return "addresses answer checks, but nothing has come through the tunnel for " + span(s.now.Sub(s.heard))
	case s.state == peer.Checking:
		return "addresses are being checked, none has answered yet"
	case s.heard.IsZero():
		return "addresses do not answer checks any more" + s.next("trying again")
	}
	return "nothing heard for " + span(s.now.Sub(s.heard)) + s.next("trying again")
}

// tried says what the session that failed has tried.
func (s standing) tried() string {
	switch {
	case s.ice.Checked == 0:
		return "no session came about"
	case s.ice.Checked < s.ice.Pairs:
		return fmt.Sprintf("%d of %d pairs were checked, none answered", s.ice.Checked, s.ice.Pairs)
	}
	return fmt.Sprintf("all %d pairs were checked, none answered", s.ice.Pairs)
}

func (s standing) whySuspect() string {
	if s.ice.Unheard {
		return s.name + " says that it hears nothing of what is sent; every known way is being tried"
	}
	return "data waits, and " + s.name + " has not answered; every known way is being tried"
}

// next says when what comes.
func (s standing) next(what string) string {
	switch wait := s.ice.Next.Sub(s.now); {
	case s.ice.Next.IsZero():
		return ""
	case wait <= 0:
		return "; " + what + " now"
	default:
		return "; " + what + " in " + span(wait+time.Second-1)
	}
}

// clock is a time of day, with its date when that is another.
func (s standing) clock(t time.Time) string {
	now := s.now.Local()
	t = t.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// span is a duration in whole seconds, for a sentence.
func span(d time.Duration) string {
	d = max(0, d.Truncate(time.Second))
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return d.String()
}
