package hub

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// joinLab is a hub with a keeper that has registered one open ticket.
type joinLab struct {
	*testHub
	network config.NetworkPrivateKey
	keeper  *member
	ck      *wsClient
}

func newJoinLab(t *testing.T) *joinLab {
	l := &joinLab{testHub: startHub(t, Config{}), network: config.NewNetworkKey()}
	l.keeper = newAdmin(t, l.network, 1)
	l.ck = connect(t, l.testHub, l.keeper)
	l.tickets(l.ck, signaling.TicketOpen, "open")
	return l
}

func (l *joinLab) tickets(c *wsClient, state signaling.TicketState, tickets ...string) {
	c.t.Helper()
	var m signaling.Tickets
	for _, ticket := range tickets {
		m.Tickets = append(m.Tickets, signaling.Ticket{Hash: ticketHash(ticket), State: state})
	}
	c.send(&m)
	c.settled()
}

// joiner is a machine with keys and no record.
func (l *joinLab) joiner() *member {
	return &member{network: l.network, key: config.NewNodeKey(), epoch: 9}
}

func withTicket(ticket string) func(*signaling.Hello) {
	return func(m *signaling.Hello) { m.Ticket = []byte(ticket) }
}

// knock connects as a joiner and reads its greeting.
func (l *joinLab) knock(t *testing.T, j *member, keeperOnline bool) *wsClient {
	t.Helper()
	c := dial(t, l.testHub).hello(j, withTicket("open"))
	records, _, _ := c.greeting(false)
	if len(records) != 1 || !bytes.Equal(records[0], l.keeper.record.Bytes()) {
		t.Fatalf("joiner got %d records, want the keeper's", len(records))
	}
	if keeperOnline {
		if p := expect[*signaling.Presence](c); len(p.Online) != 1 || p.Online[0].Node != l.keeper.node() {
			t.Fatalf("joiner got %+v, want its keeper online", p)
		}
	}
	return c
}

func TestTicketStates(t *testing.T) {
	l := newJoinLab(t)
	l.tickets(l.ck, signaling.TicketUsed, "used")
	l.tickets(l.ck, signaling.TicketExpired, "expired")
	l.tickets(l.ck, signaling.TicketRevoked, "revoked")
	l.tickets(l.ck, signaling.TicketOpen, "was open")
	l.tickets(l.ck, signaling.TicketUsed, "was open")
	// Another admin's word about the keeper's ticket counts for nothing, and a
	// plain member has none.
	plain := connect(t, l.testHub, newMember(t, l.network, 3))
	plain.send(&signaling.Tickets{})
	plain.expectError(signaling.CodeUnauthorized)
	thief := connect(t, l.testHub, newAdmin(t, l.network, 2))
	l.tickets(thief, signaling.TicketOpen, "used")
	l.tickets(thief, signaling.TicketRevoked, "open")

	tests := []struct {
		ticket string
		want   signaling.ErrorCode
	}{
		{"open", ""},
		{"used", signaling.CodeUsed},
		{"was open", signaling.CodeUsed},
		{"expired", signaling.CodeExpired},
		{"revoked", signaling.CodeRevoked},
		{"unknown", signaling.CodeTicket},
	}
	for _, tt := range tests {
		c := dial(t, l.testHub).hello(l.joiner(), withTicket(tt.ticket))
		if tt.want != "" {
			c.expectError(tt.want)
			continue
		}
		c.greeting(false)
	}

	stranger := l.joiner()
	stranger.network = config.NewNetworkKey()
	dial(t, l.testHub).hello(stranger, withTicket("open")).expectError(signaling.CodeTicket)
}

func TestTicketsNotWellFormed(t *testing.T) {
	l := newJoinLab(t)
	for _, ticket := range []signaling.Ticket{
		{Hash: []byte("short"), State: signaling.TicketOpen},
		{Hash: ticketHash("x"), State: "ajar"},
	} {
		c := connect(t, l.testHub, newAdmin(t, l.network, 2))
		c.send(&signaling.Tickets{Tickets: []signaling.Ticket{ticket}})
		c.expectError(signaling.CodeProtocol)
	}
}

func TestTooManyTickets(t *testing.T) {
	l := newJoinLab(t)
	var m signaling.Tickets
	for i := range maxTickets {
		m.Tickets = append(m.Tickets, signaling.Ticket{Hash: ticketHash(string(rune(i))), State: signaling.TicketOpen})
	}
	// In frames of some hundred bytes each; the one from the lab is one too many.
	for len(m.Tickets) > 0 {
		n := min(400, len(m.Tickets))
		l.ck.send(&signaling.Tickets{Tickets: m.Tickets[:n]})
		m.Tickets = m.Tickets[n:]
	}
	l.ck.expectError(signaling.CodeLimit)
}

// A joiner and its keeper talk; when its record is published, the joiner is a
// member on the same connection.
func TestJoin(t *testing.T) {
	l := newJoinLab(t)
	other := newMember(t, l.network, 2)
	co := connect(t, l.testHub, other)
	expect[*signaling.Members](l.ck)
	expect[*signaling.Presence](l.ck)
	j := l.joiner()
	c := l.knock(t, j, true)

	c.send(&signaling.Join{To: l.keeper.node(), Sealed: []byte("request")})
	if m := expect[*signaling.Join](l.ck); string(m.Sealed) != "request" || m.From != j.node() {
		t.Fatalf("keeper got %q from %v", m.Sealed, m.From)
	}
	l.ck.send(&signaling.Join{To: j.node(), Sealed: []byte("answer")})
	if m := expect[*signaling.Join](c); string(m.Sealed) != "answer" || m.From != l.keeper.node() {
		t.Fatalf("joiner got %q from %v", m.Sealed, m.From)
	}

	// Nobody else reaches the joiner.
	co.send(&signaling.Join{To: j.node(), Sealed: []byte("false keeper")})
	co.expectError(signaling.CodeOffline)
	co.send(&signaling.Signal{To: j.node(), Sealed: []byte("x")})
	co.expectError(signaling.CodeOffline)
	// Members do not send each other join frames.
	co.send(&signaling.Join{To: l.keeper.node(), Sealed: []byte("x")})
	co.expectError(signaling.CodeOffline)

	j.record = j.sign(t, signaling.Record{Sequence: 1}, 3)
	l.ck.send(&signaling.Members{Statements: [][]byte{j.record.Bytes()}})
	records, online, cred := c.greeting(true)
	if len(records) != 4 || len(online) != 2 || cred.Username == "" {
		t.Fatalf("upgraded joiner got %d records, %d online, credentials %v; want 4, 2, some", len(records), len(online), cred)
	}
	for _, m := range []*wsClient{co, l.ck} {
		if m := expect[*signaling.Members](m); len(m.Statements) != 1 || !bytes.Equal(m.Statements[0], j.record.Bytes()) {
			t.Fatalf("got %d records, want the joiner's", len(m.Statements))
		}
		if p := expect[*signaling.Presence](m); len(p.Online) != 1 || p.Online[0].Node != j.node() || !p.Online[0].Verify(l.network.Public().ID()) {
			t.Fatalf("got %+v, want the joiner online", p)
		}
	}
	co.send(&signaling.Signal{To: j.node(), Sealed: []byte("welcome")})
	if m := expect[*signaling.Signal](c); string(m.Sealed) != "welcome" {
		t.Fatalf("got %q", m.Sealed)
	}
}

// The record may have been published before the joiner came back; publishing
// it again makes it a member all the same.
func TestJoinAgain(t *testing.T) {
	l := newJoinLab(t)
	j := l.joiner()
	record := j.sign(t, signaling.Record{Sequence: 1}, 3)
	l.ck.send(&signaling.Members{Statements: [][]byte{record.Bytes()}})
	expect[*signaling.Members](l.ck)
	c := l.knock(t, j, true)
	l.ck.send(&signaling.Members{Statements: [][]byte{record.Bytes()}})
	c.greeting(true)
}

func TestJoinerMayOnlyAskItsKeeper(t *testing.T) {
	l := newJoinLab(t)
	other := newMember(t, l.network, 2)
	connect(t, l.testHub, other)
	since := uint64(0)
	for _, m := range []signaling.Message{
		&signaling.Join{To: other.node(), Sealed: []byte("x")},
		&signaling.Signal{To: l.keeper.node(), Sealed: []byte("x")},
		&signaling.Members{Since: &since},
		&signaling.Tickets{},
		&signaling.Credentials{},
	} {
		c := l.knock(t, l.joiner(), true)
		c.send(m)
		c.expectError(signaling.CodeUnauthorized)
	}
}

// A joiner learns when its keeper comes and goes, and nothing of others.
func TestJoinerWaitsForKeeper(t *testing.T) {
	l := newJoinLab(t)
	other := newMember(t, l.network, 2)
	co := connect(t, l.testHub, other)
	l.ck.ws.Close()
	for {
		m, err := co.read()
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := m.(*signaling.Presence); ok && len(p.Offline) == 1 {
			break
		}
	}
	c := l.knock(t, l.joiner(), false)
	c.send(&signaling.Join{To: l.keeper.node(), Sealed: []byte("x")})
	if e := c.expectError(signaling.CodeOffline); e.To == nil || *e.To != l.keeper.node() {
		t.Fatalf("offline: got %v", e.To)
	}
	co.ws.Close()
	l.ck = connect(t, l.testHub, l.keeper)
	if p := expect[*signaling.Presence](c); len(p.Online) != 1 || p.Online[0].Node != l.keeper.node() {
		t.Fatalf("got %+v, want the keeper online", p)
	}
}

// seatWatch is a Bus that sees one node take and leave its seats.
type seatWatch struct {
	Bus
	node   config.NodeKey
	attach func()
	detach func()
}

func (b *seatWatch) Attach(s Seat) (detach func()) {
	if s.Node != b.node {
		return b.Bus.Attach(s)
	}
	b.attach()
	leave := b.Bus.Attach(s)
	return func() { b.detach(); leave() }
}

// What a keeper answers to a joiner, and says to it while it becomes a member, finds
// it: its seat is there before it can ask, and until it has the next.
func TestJoinerHasItsSeat(t *testing.T) {
	l := newJoinLab(t)
	j := l.joiner()
	asks := make(chan bool, 1)
	var seats, left atomic.Int32
	l.bus = &seatWatch{
		Bus: l.bus, node: j.node(),
		attach: func() {
			if seats.Add(1) > 1 {
				if left.Load() != 0 {
					t.Error("the joiner left its seat before it had a member's")
				}
				return
			}
			select {
			case <-asks:
				t.Error("the joiner could ask before it had a seat")
			case <-time.After(50 * time.Millisecond):
			}
		},
		detach: func() { left.Add(1) },
	}
	c := l.knock(t, j, false)
	asks <- true
	if p := expect[*signaling.Presence](c); len(p.Online) != 1 {
		t.Fatalf("joiner got %+v, want its keeper online", p)
	}
	j.record = j.sign(t, signaling.Record{Sequence: 1}, 3)
	l.ck.send(&signaling.Members{Statements: [][]byte{j.record.Bytes()}})
	c.greeting(true)
	if n := seats.Load(); n != 2 {
		t.Errorf("the joiner had %d seats, want 2", n)
	}
}
