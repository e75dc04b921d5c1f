package behavior

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

// fakeNAT is a NAT and a STUN server beyond it, for tests in virtual time.
type fakeNAT struct {
	mapping, filtering Dependence
	allocation         Allocation
	hairpin            bool
	timeout            time.Duration // of a mapping; 0: none

	blocked   bool          // nothing comes back
	delay     time.Duration // one way
	lossy     bool          // the first two packets of each question are lost
	addresses int           // of the server: 2 or 1
	six       bool          // the server is of IPv6
	plain     bool          // the server knows nothing of RFC 5780
	strict    bool          // RFC 5780, but with one address it changes nothing

	mu       sync.Mutex
	packets  map[string]int        // by what they ask
	next     uint16                // internal port
	last     uint16                // external port given out
	mappings map[mapKey]*fakeEntry // outbound
	byPort   map[uint16]*fakeEntry
}

type mapKey struct {
	local uint16
	to    netip.AddrPort // zero, or without the port
}

type fakeEntry struct {
	socket   *fakeSocket
	port     uint16
	contacts map[netip.AddrPort]bool
	used     time.Time
}

var (
	inside = netip.MustParseAddr("192.168.1.2")
	ports  = [2]uint16{3478, 3479}
	first  = netip.MustParseAddrPort("192.0.2.1:3478")
	second = netip.MustParseAddrPort("192.0.2.1:3479")
	first6 = netip.MustParseAddrPort("[2001:db8::1]:3478")
)

// outside is this machine's external address, in the server's family.
func (n *fakeNAT) outside() netip.Addr {
	if n.six {
		return netip.MustParseAddr("2001:db8:7::7")
	}
	return netip.MustParseAddr("203.0.113.7")
}

// server is the server's first or second address.
func (n *fakeNAT) server(i int) netip.Addr {
	all := [2]netip.Addr{first.Addr(), netip.MustParseAddr("192.0.2.9")}
	if n.six {
		all = [2]netip.Addr{first6.Addr(), netip.MustParseAddr("2001:db8::9")}
	}
	return all[i]
}

type fakeSocket struct {
	nat    *fakeNAT
	port   uint16
	in     chan fakePacket
	closed chan struct{}
	once   sync.Once
}

type fakePacket struct {
	b    []byte
	from netip.AddrPort
}

func (n *fakeNAT) config(servers ...netip.AddrPort) Config {
	n.mappings, n.byPort, n.packets, n.last = make(map[mapKey]*fakeEntry), make(map[uint16]*fakeEntry), make(map[string]int), 40000
	return Config{
		Servers: servers,
		Open: func(bool) (Socket, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.next++
			return &fakeSocket{nat: n, port: 20000 + n.next*7, in: make(chan fakePacket, 64), closed: make(chan struct{})}, nil
		},
		IsAddress: func(a netip.Addr) bool { return a == inside || n.mapping == None && a == n.outside() },
	}
}

func (s *fakeSocket) Port() uint16 { return s.port }
func (s *fakeSocket) Close() error { s.once.Do(func() { close(s.closed) }); return nil }

func (s *fakeSocket) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-s.in:
		return copy(b, p.b), p.from, nil
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (s *fakeSocket) WriteTo(b []byte, to netip.AddrPort) error {
	n := s.nat
	n.mu.Lock()
	defer n.mu.Unlock()
	question := fmt.Sprint(s.port, to, b[20:])
	if n.packets[question]++; n.blocked || n.lossy && n.packets[question] <= 2 {
		return nil
	}
	e := n.outbound(s, to)
	from := netip.AddrPortFrom(n.outside(), e.port)
	if to.Addr() == n.outside() {
		if n.hairpin {
			n.inbound(b, from, to)
		}
		return nil
	}
	time.AfterFunc(n.delay, func() { n.serve(append([]byte(nil), b...), from, to) })
	return nil
}

// outbound finds or makes a mapping.
func (n *fakeNAT) outbound(s *fakeSocket, to netip.AddrPort) *fakeEntry {
	k := mapKey{local: s.port}
	switch n.mapping {
	case AddressDependent:
		k.to = netip.AddrPortFrom(to.Addr(), 0)
	case AddressAndPortDependent:
		k.to = to
	}
	e := n.mappings[k]
	if e == nil || n.expired(e) {
		e = &fakeEntry{socket: s, contacts: make(map[netip.AddrPort]bool)}
		n.last++
		switch e.port = n.last; {
		case n.allocation == Random:
			e.port = n.last * 7919
		case n.allocation != Sequential && n.byPort[s.port] == nil:
			e.port = s.port
		}
		n.mappings[k], n.byPort[e.port] = e, e
	}
	e.used = time.Now()
	e.contacts[to], e.contacts[netip.AddrPortFrom(to.Addr(), 0)] = true, true
	return e
}

func (n *fakeNAT) expired(e *fakeEntry) bool {
	return n.timeout > 0 && time.Since(e.used) >= n.timeout
}

// inbound filters.
func (n *fakeNAT) inbound(b []byte, from, to netip.AddrPort) {
	e := n.byPort[to.Port()]
	if e == nil || n.expired(e) {
		return
	}
	switch {
	case n.filtering == AddressDependent && !e.contacts[netip.AddrPortFrom(from.Addr(), 0)]:
	case n.filtering == AddressAndPortDependent && !e.contacts[from]:
	default:
		e.socket.in <- fakePacket{append([]byte(nil), b...), from}
	}
}

// serve is the STUN server.
func (n *fakeNAT) serve(b []byte, from, to netip.AddrPort) {
	m := &stun.Message{Raw: b}
	at := [2]int{}
	if to.Addr() == n.server(1) {
		at[0] = 1
	}
	if to.Port() == ports[1] {
		at[1] = 1
	}
	if m.Decode() != nil || at[0] >= n.addresses {
		return
	}
	via, back := at, from
	refused := false
	if v, err := m.Get(stun.AttrChangeRequest); err == nil {
		via[0] ^= int(v[3]>>2) & 1
		via[1] ^= int(v[3]>>1) & 1
		refused = n.plain || via[0] >= n.addresses || n.strict && n.addresses == 1
	}
	if v, err := m.Get(stun.AttrResponsePort); err == nil {
		back = netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(v))
		refused = refused || n.plain
	}
	origin := netip.AddrPortFrom(n.server(via[0]), ports[via[1]])
	setters := []stun.Setter{stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess, &stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}}
	if !n.plain {
		setters = append(setters, &stun.ResponseOrigin{IP: origin.Addr().AsSlice(), Port: int(origin.Port())})
	}
	if n.addresses == 2 && !n.plain {
		setters = append(setters, &stun.OtherAddress{IP: n.server(1 - at[0]).AsSlice(), Port: int(ports[1-at[1]])})
	}
	if refused {
		origin, back = to, from
		setters = []stun.Setter{stun.NewTransactionIDSetter(m.TransactionID), stun.BindingError, stun.CodeUnknownAttribute}
	}
	answer := stun.MustBuild(setters...)
	time.AfterFunc(n.delay, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.inbound(answer.Raw, origin, back)
	})
}
