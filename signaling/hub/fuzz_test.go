package hub

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/stun/v4"
)

// FuzzHandle gives a member's and a joiner's connection any frame: it may
// refuse it, and must not fall over or send on what it should not.
func FuzzHandle(f *testing.F) {
	keeper, to := config.NodeKey{1}, config.NodeKey{2}
	since := uint64(3)
	for _, m := range []signaling.Message{
		&signaling.Signal{To: to, Sealed: []byte("x")}, &signaling.Join{To: keeper, Sealed: []byte("x")},
		&signaling.Members{Since: &since}, &signaling.Members{Statements: [][]byte{[]byte("record")}},
		&signaling.Tickets{Tickets: []signaling.Ticket{{Hash: make([]byte, 32), State: signaling.TicketOpen}}},
		&signaling.Credentials{}, &signaling.Hello{}, &signaling.Presence{}, &signaling.Error{},
	} {
		frame, err := signaling.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame, true)
		f.Add(frame, false)
	}
	s, err := openState(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.close)
	network := config.NewNetworkKey().Public()
	if err := s.store.Create(network); err != nil {
		f.Fatal(err)
	}
	h := &Hub{log: slog.New(slog.DiscardHandler), store: s.store, bus: newLocalBus(), credentials: newCredentials(newRelayKey(s.relay), nil), rosters: newRosters(s.store)}
	var passed []signaling.Message
	for _, node := range []config.NodeKey{keeper, to} {
		h.bus.Attach(Seat{Network: network, Node: node, Deliver: func(e Event) bool {
			passed = append(passed, e.Message)
			return true
		}})
	}
	f.Fuzz(func(t *testing.T, frame []byte, member bool) {
		passed = nil
		c := newConn(h, nil, netip.AddrPort{}, func() {})
		c.keeper = keeper
		c.shake = signaling.Handshake{Network: network, Node: config.NodeKey{9}}
		c.member.Store(member)
		c.roster, c.unuse = h.rosters.use(network)
		defer c.unuse()
		err := c.handle(websocket.TextMessage, frame)
		for _, m := range passed {
			switch m := m.(type) {
			case *signaling.Signal:
				if !member || m.From != c.node() {
					t.Errorf("passed on %+v, member %v", m, member)
				}
			case *signaling.Join:
				if m.From != c.node() || !member && m.To != keeper {
					t.Errorf("passed on %+v, member %v", m, member)
				}
			default:
				t.Errorf("passed on %T", m)
			}
			if err != nil {
				t.Errorf("passed on, and refused: %v", err)
			}
		}
	})
}

// FuzzHello gives the handshake any hello, signed by its node, that a stranger
// may make: only what was admitted before makes it a member or a joiner.
func FuzzHello(f *testing.F) {
	s, err := openState(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.close)
	network := config.NewNetworkKey()
	known := newMember(f, network, 1)
	f.Add(known.record.Bytes(), []byte{}, []byte{}, true)
	f.Add(newMember(f, config.NewNetworkKey(), 2).record.Bytes(), []byte{}, []byte("access"), false)
	f.Add([]byte{}, []byte("ticket"), []byte{}, true)
	f.Add([]byte{}, []byte("open ticket"), []byte{}, true)
	if err := s.store.Create(network.Public()); err != nil {
		f.Fatal(err)
	}
	h := &Hub{log: slog.New(slog.DiscardHandler), state: s, store: s.store, bus: newLocalBus(), rosters: newRosters(s.store)}
	open := []signaling.Ticket{{Hash: ticketHash("open ticket"), State: signaling.TicketOpen}}
	if err := h.putTickets(network.Public(), known.node(), open); err != nil {
		f.Fatal(err)
	}
	elsewhere := config.NewNetworkKey().Public()
	f.Fuzz(func(t *testing.T, record, ticket, access []byte, here bool) {
		hello := &signaling.Hello{Network: elsewhere, Node: known.node(), Ticket: ticket, Access: access}
		if len(record) > 0 {
			hello.Proof = [][]byte{record}
		}
		if here {
			hello.Network = network.Public()
		}
		frame, err := signaling.Encode(hello)
		if err != nil {
			return
		}
		m, err := signaling.Decode(frame)
		if err != nil {
			t.Fatalf("our own frame: %v", err)
		}
		c := newConn(h, nil, netip.AddrPort{}, func() {})
		c.shake = signaling.Handshake{Network: hello.Network, Node: hello.Node}
		err = c.authorize(m.(*signaling.Hello))
		if c.unuse != nil {
			c.unuse()
		}
		switch {
		case err != nil && c.member.Load():
			t.Errorf("refused, and a member: %v", err)
		case err == nil && c.member.Load() && (!here || !bytes.Equal(record, known.record.Bytes())):
			t.Errorf("a member with the record %x", record)
		case err == nil && !c.member.Load() && (!here || string(ticket) != "open ticket"):
			t.Errorf("a joiner with the ticket %q", ticket)
		}
	})
}

// FuzzTURN gives the relay any datagram: as it is, or as the type and the
// attributes of a request that is signed, from a member with an allocation.
// The hub lives and serves, and relays to nobody.
func FuzzTURN(f *testing.F) {
	h := startHub(f, Config{}, func(h *Hub) {
		h.relay.known.rate, h.relay.known.burst = 1e9, 1e9
	})
	id := identity{config.NewNetworkKey().Public(), config.NodeKey{1}}
	c := newRawTURN(f, h.TURNAddr(), "127.0.0.1", issue(h, id)).allocate()
	for method := range stun.Method(16) {
		for _, class := range []stun.MessageClass{stun.ClassRequest, stun.ClassIndication, stun.ClassErrorResponse} {
			m := stun.MustBuild(stun.TransactionID, stun.NewType(method, class), attribute(stun.AttrData, 1, 2, 3),
				peerAddress(netip.MustParseAddrPort("203.0.113.5:1")), attribute(stun.AttrChannelNumber, 0x40, 1, 0, 0))
			f.Add(m.Raw, false)
			f.Add(append(m.Raw[:2:2], m.Raw[20:]...), true)
		}
	}
	f.Add([]byte{0x40, 1, 0, 3, 'a', 'b', 'c'}, false)
	f.Add([]byte{0x40, 1, 0xff, 0xfc}, false)
	f.Fuzz(func(t *testing.T, b []byte, signed bool) {
		c.t = t
		if len(b) > 1400 {
			return
		}
		if signed && len(b) >= 2 {
			m := &stun.Message{Raw: slices.Concat(b[:2], make([]byte, 18), b[2:])}
			m.Raw[0] &= 0x3f
			binary.BigEndian.PutUint16(m.Raw[2:], uint16(len(b)-2))
			binary.BigEndian.PutUint32(m.Raw[4:], 0x2112A442)
			if m.Decode() == nil {
				signedBy(c, m)
				b = m.Raw
			}
		}
		if _, err := c.conn.Write(b); err != nil {
			t.Fatal(err)
		}
		c.settled()
		if n := h.drops.toHub.Load() + h.drops.forbidden.Load() + h.drops.overRate.Load(); n != 0 {
			t.Errorf("%d packets came to be relayed", n)
		}
		if len(h.allocations()) == 0 {
			c.allocate() // it was a Refresh of lifetime zero
		}
	})
}

// signedBy adds what makes it the client's.
func signedBy(c *rawTURN, m *stun.Message) {
	for _, a := range []stun.Setter{
		stun.NewUsername(c.cred.Username), stun.NewRealm(realm), c.nonce,
		stun.NewLongTermIntegrity(c.cred.Username, realm, c.cred.Password),
	} {
		if a.AddTo(m) != nil {
			return
		}
	}
}

// FuzzReply gives the listener anything that pion/turn may want to send: only
// the code of a refused ChannelBind is ever changed.
func FuzzReply(f *testing.F) {
	refused := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodChannelBind, stun.ClassErrorResponse), stun.CodeUnauthorized)
	f.Add(refused.Raw)
	f.Add(stun.MustBuild(refused, stun.NewNonce("nonce")).Raw)
	f.Add([]byte{1, 0x19})
	f.Fuzz(func(t *testing.T, b []byte) {
		was := slices.Clone(b)
		relayed := isRelayed(b)
		if toStranger(b) {
			if relayed {
				t.Error("an answer to a stranger, and relayed")
			}
			forbid(b)
		}
		changed := 0
		for i := range b {
			if b[i] != was[i] {
				changed++
			}
		}
		if changed > 1 || changed == 1 && (b[0] != 1 || b[1] != 0x19) {
			t.Errorf("%x became %x", was, b)
		}
		channelOf(b)
	})
}

// FuzzSource takes any header that passes for a proxy's: nobody but a proxy on
// this machine says whom a connection counts against.
func FuzzSource(f *testing.F) {
	f.Add("203.0.113.1:5", "203.0.113.2", "")
	f.Add("127.0.0.1:5", "8.8.8.8, 203.0.113.2", "for=x")
	f.Add("[::1]:5", "::ffff:1.2.3.4", "")
	f.Add("[fe80::1%eth0]:5", "", "")
	f.Fuzz(func(t *testing.T, remote, forwardedFor, forwarded string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {forwardedFor}, "Forwarded": {forwarded}}}
		ap, err := netip.ParseAddrPort(remote)
		if got := source(r); err == nil && !ap.Addr().IsLoopback() && got != ap.Addr().Unmap() {
			t.Errorf("%s speaks for %v", remote, got)
		}
		if observed(r).IsValid() && proxied(r) {
			t.Errorf("%s observed behind a proxy", remote)
		}
		sourceOf(source(r))
	})
}

// FuzzListen takes any [IP]:PORT of a user.
func FuzzListen(f *testing.F) {
	for _, s := range []string{":3478", "1.2.3.4:1", "[::1]:65535", "[::]:0", "x:1", "1.2.3.4", ":http", ":70000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, _, err := parseListen(s)
		if err == nil && (addr.IsUnspecified() || addr.Is4In6()) {
			t.Errorf("%q: address %v", s, addr)
		}
	})
}
