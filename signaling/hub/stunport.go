package hub

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/stun/v4"
)

// stunPorts are sockets beside the relay's, one for each of its addresses, that
// answer Binding requests and nothing else. A node that asks both ports of an
// address sees whether the NAT before it maps its own port anew for each (RFC
// 5780 section 4.3).
type stunPorts struct {
	mayAsk func(netip.Addr) bool // counts a reply to the address; false: none
	drops  *drops
	log    *slog.Logger
	conns  []*net.UDPConn

	servers []netip.AddrPort // the addresses to give to members
}

// maxBinding bounds a request that is worth to be looked at, in bytes.
const maxBinding = 1500

// open takes the port next to the relay's on each of its addresses, or any where
// that is taken. The hub does without what it does not get.
func (s *stunPorts) open(r *relay) {
	bound := make(map[netip.Addr]*net.UDPConn)
	for _, server := range r.servers() {
		bind := r.binds[server.Addr()]
		conn := bound[bind]
		if conn == nil {
			var err error
			if conn, err = listenNextTo(netip.AddrPortFrom(bind, server.Port())); err != nil {
				s.log.Warn("no second port for STUN: nodes cannot tell how their NATs map", "local", bind, "err", err)
				continue
			}
			bound[bind] = conn
			s.conns = append(s.conns, conn)
		}
		s.servers = append(s.servers, netip.AddrPortFrom(server.Addr(), addrPort(conn.LocalAddr()).Port()))
	}
}

// listenNextTo takes the next port, or any.
func listenNextTo(a netip.AddrPort) (*net.UDPConn, error) {
	network := "udp4" // each family has its own
	if a.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), a.Port()+1)))
	if err != nil {
		conn, err = net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), 0)))
	}
	return conn, err
}

// run serves until close, or an error of a socket that does not pass.
func (s *stunPorts) run() {
	var all sync.WaitGroup
	for _, c := range s.conns {
		all.Go(func() { s.serve(c) })
	}
	all.Wait()
}

func (s *stunPorts) serve(c *net.UDPConn) {
	b := make([]byte, maxBinding)
	for failed := 0; failed < maxReadErrors; {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			failed++
			continue
		}
		failed = 0
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		reply := bindingReply(b[:n], from)
		switch {
		case reply == nil:
		case !s.mayAsk(from.Addr()):
			s.drops.strangers.Add(1)
		default:
			_, _ = c.WriteToUDPAddrPort(reply, from) // it asks again
		}
	}
}

// close is idempotent.
func (s *stunPorts) close() {
	for _, c := range s.conns {
		c.Close()
	}
}

// bindingReply is what a Binding request from an address is answered with: that
// address, and no more than that. It is nil for all else, and for a request that
// asks for what there is not here (RFC 8489 section 6.3.1: attributes below 0x8000
// must be understood).
func bindingReply(b []byte, from netip.AddrPort) []byte {
	m := &stun.Message{Raw: b}
	if !stun.IsMessage(b) || m.Decode() != nil || m.Type != stun.BindingRequest {
		return nil
	}
	for _, a := range m.Attributes {
		if a.Type < 0x8000 {
			return nil
		}
	}
	reply, err := stun.Build(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())})
	if err != nil {
		return nil
	}
	return reply.Raw
}
