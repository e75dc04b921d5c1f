package tunnel

import (
	"context"
	"time"

	"github.com/p2ptun/p2ptun/peer"
)

// PairStatus is a candidate pair, as its checks stand.
type PairStatus struct {
	Local      EndpointStatus `json:"local"`
	Remote     EndpointStatus `json:"remote"`
	Relay      string         `json:"relay"`  // the server whose relay is the local end, as in self.relays; "": none
	State      peer.PairState `json:"state"`  // waiting, in-progress, succeeded, failed: RFC 8445 section 6.1.2.6
	RTT        *float64       `json:"rtt_ms"` // null: it never answered
	Loss       *float64       `json:"loss"`   // share of the probes; null: not measured
	LastAnswer *time.Time     `json:"last_answer"`
	Chosen     bool           `json:"chosen"` // it carries the data
	Nominated  bool           `json:"nominated"`
	Suspect    bool           `json:"suspect"` // data waits there for an answer
}

// EventStatus is something that happened with a peer.
type EventStatus struct {
	Time  time.Time  `json:"time"` // of the last, where it happened often
	Text  string     `json:"text"`
	Count int        `json:"count,omitempty"` // in a row; absent: once
	First *time.Time `json:"first,omitempty"` // of those
}

// StatusOf is Status, and for the peer of that name, if there is one, its
// candidate pairs and its newest events.
func (n *Node) StatusOf(ctx context.Context, name string) (*Status, error) {
	var s *Status
	err := n.do(ctx, func() error {
		s = n.status(time.Now())
		for i := range s.Peers {
			if p := &s.Peers[i]; p.Name == name {
				n.detail(p)
			}
		}
		return nil
	})
	return s, err
}

func (n *Node) detail(p *PeerStatus) {
	p.Pairs, p.Events = []PairStatus{}, []EventStatus{}
	for _, m := range n.members {
		if m.record.Name != p.Name {
			continue
		}
		if m.active != nil {
			for _, pair := range m.active.session.Pairs() {
				p.Pairs = append(p.Pairs, pairStatus(pair))
			}
		}
		if m.events != nil {
			for _, e := range m.events.List() {
				p.Events = append(p.Events, eventStatus(e))
			}
		}
	}
}

func pairStatus(p peer.Pair) PairStatus {
	s := PairStatus{
		Local: endpointStatus(p.Local), Remote: endpointStatus(p.Remote), State: p.State,
		RTT: Milliseconds(p.RTT), Loss: p.Loss, LastAnswer: when(p.Answered),
		Chosen: p.Chosen, Nominated: p.Nominated, Suspect: p.Suspect,
	}
	s.Relay = p.Relay
	return s
}

func eventStatus(e peer.Event) EventStatus {
	s := EventStatus{Time: e.Time.UTC(), Text: e.Text}
	if e.Count > 1 {
		s.Count, s.First = e.Count, when(e.First)
	}
	return s
}

// when is a time as JSON has it, nil for none.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// hubSettles is how long the hub may take to say who is there, after it was
// connected to.
const hubSettles = 3 * time.Second

// tellPresence keeps, for members that there was something with, who came and
// went.
func (n *Node) tellPresence(now time.Time) {
	if !n.link.up || now.Sub(n.link.since) < hubSettles {
		return
	}
	for _, m := range n.members {
		if m.events == nil || m.online == m.wasOnline {
			continue
		}
		m.wasOnline = m.online
		if m.online {
			m.events.Add(now, "online, as the hub says")
		} else {
			m.events.Add(now, "offline, as the hub says")
		}
	}
}
