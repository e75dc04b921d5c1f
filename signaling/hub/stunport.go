package hub

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/p2ptun/p2ptun/config"
)

// stunPorts are sockets beside the relay's that answer Binding requests and nothing
// else: a second port on each of its addresses, and both on a second address, where
// there is one. A node that asks several sees whether the NAT before it maps its own
// port anew for each, and what that lets in (RFC 5780 sections 4.3 and 4.4).
type stunPorts struct {
	log   *slog.Logger
	sites []*stunSite

	servers []netip.AddrPort // the addresses to give to members
}

// stunSite is the sockets of one address, see corners; the first is the relay's.
type stunSite struct {
	relay   *relay
	bind    netip.Addr
	corners corners
	conns   [4]*net.UDPConn
}

// maxBinding bounds a request that is worth to be looked at, in bytes.
const maxBinding = 1500

// open takes the port next to the relay's on each of its addresses, or any where
// that is taken, and the same ports on the alternate addresses. The hub does without
// a second port that it does not get, but not without what it was told to have.
func (s *stunPorts) open(r *relay, alternate []netip.Addr) error {
	alternates, err := r.alternates(alternate)
	if err != nil {
		return err
	}
	for _, server := range r.servers() {
		site := s.site(r, server)
		if site == nil {
			continue
		}
		second := addrPort(site.conns[changePort].LocalAddr()).Port()
		s.servers = append(s.servers, netip.AddrPortFrom(server.Addr(), second))
		alt, ok := alternates[server.Addr()]
		if !ok {
			continue
		}
		if err := site.openAlternate(alt, server.Port(), second); err != nil {
			return err
		}
		s.servers = append(s.servers, netip.AddrPortFrom(alt, server.Port()))
	}
	return nil
}

// site returns the sockets behind an address of the relay's, nil where there is no
// second one.
func (s *stunPorts) site(r *relay, server netip.AddrPort) *stunSite {
	bind := r.binds[server.Addr()]
	for _, site := range s.sites {
		if site.bind == bind {
			// Two addresses that a router maps: which one was asked is not seen.
			site.corners[0].at, site.corners[changePort].at = netip.AddrPort{}, netip.AddrPort{}
			return site
		}
	}
	site := &stunSite{relay: r, bind: bind}
	for _, l := range r.listeners {
		if addrPort(l.LocalAddr()).Addr() == bind {
			l.site, site.conns[0] = site, l.UDPConn
		}
	}
	site.corners[0] = corner{true, server}
	s.sites = append(s.sites, site)
	conn, err := listenNextTo(netip.AddrPortFrom(bind, server.Port()))
	if err != nil {
		s.log.Warn("no second port for STUN: nodes cannot tell how their NATs map", "local", bind, "err", err)
		return nil
	}
	site.take(changePort, conn, server.Addr())
	return site
}

// openAlternate takes the two ports on a second address.
func (s *stunSite) openAlternate(alt netip.Addr, first, second uint16) error {
	for i, port := range []uint16{first, second} {
		at := netip.AddrPortFrom(alt, port)
		conn, err := net.ListenUDP(networkOf(alt), net.UDPAddrFromAddrPort(at))
		if err != nil {
			return config.WithHint(fmt.Errorf("cannot listen for STUN (UDP) on the alternate address %v: %w", at, reason(err)),
				"another program has this port: stop it, choose another with --turn-listen, or leave --alt-addr out")
		}
		s.take(changeAddr|i, conn, alt)
	}
	return nil
}

func (s *stunSite) take(i int, conn *net.UDPConn, known netip.Addr) {
	s.conns[i] = conn
	s.corners[i] = corner{true, netip.AddrPortFrom(known, addrPort(conn.LocalAddr()).Port())}
}

// listenNextTo takes the next port, or any.
func listenNextTo(a netip.AddrPort) (*net.UDPConn, error) {
	network := networkOf(a.Addr())
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), a.Port()+1)))
	if err != nil {
		conn, err = net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), 0)))
	}
	return conn, err
}

// networkOf is "udp4" or "udp6": each family has sockets of its own.
func networkOf(a netip.Addr) string {
	if a.Is6() {
		return "udp6"
	}
	return "udp4"
}

// run serves until close, or an error of a socket that does not pass.
func (s *stunPorts) run() {
	var all sync.WaitGroup
	for _, site := range s.sites {
		for i, conn := range site.conns {
			if i > 0 && conn != nil { // the first is read by the relay
				all.Go(func() { site.serve(i, conn) })
			}
		}
	}
	all.Wait()
}

func (s *stunSite) serve(at int, c *net.UDPConn) {
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
		s.answer(b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), at, c)
	}
}

// answer takes what came to one of the sockets by conn; there may be more of the
// first. Each answer counts against the limit of who is said to have asked.
func (s *stunSite) answer(b []byte, from netip.AddrPort, at int, conn *net.UDPConn) {
	a, ok := s.corners.bindingReply(b, from, at)
	switch {
	case !ok:
		return
	case !s.relay.mayAsk(from.Addr()):
		s.relay.drops.strangers.Add(1)
		return
	case a.from != at:
		conn = s.conns[a.from]
	}
	_, _ = conn.WriteToUDPAddrPort(a.raw, a.to) // it asks again
}

// close is idempotent.
func (s *stunPorts) close() {
	for _, site := range s.sites {
		for _, c := range slices.DeleteFunc(slices.Clone(site.conns[1:]), func(c *net.UDPConn) bool { return c == nil }) {
			c.Close()
		}
	}
}
