package hub

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
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
	h := &Hub{log: slog.New(slog.DiscardHandler), store: s.store, bus: newLocalBus(), credentials: newCredentials(), rosters: newRosters(s.store)}
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
