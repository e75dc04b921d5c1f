package natlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// dns64 is the resolver of a NAT64 network. It knows one name, by which hosts find
// the prefix (RFC 7050); all others do not exist.
type dns64 struct {
	conn   *net.UDPConn
	prefix netip.Prefix
	done   chan struct{}
}

// ipv4only has these IPv4 addresses in the whole internet (RFC 7050 section 8.2).
const ipv4only = "ipv4only.arpa."

var ipv4onlyAddrs = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})}

func startDNS64(ns *namespace, at netip.AddrPort, prefix netip.Prefix) (*dns64, error) {
	d := &dns64{prefix: prefix, done: make(chan struct{})}
	err := ns.do(func() (err error) {
		d.conn, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natlab: resolver of %s: %w", ns.name, err)
	}
	go d.serve()
	return d, nil
}

func (d *dns64) close() {
	d.conn.Close()
	<-d.done
}

func (d *dns64) serve() {
	defer close(d.done)
	b := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if answer, err := d.answer(b[:n]); err == nil {
			_, _ = d.conn.WriteToUDPAddrPort(answer, from) // it asks again
		}
	}
}

// answer makes the response to a question.
func (d *dns64) answer(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	header.Response, header.RecursionAvailable = true, true
	known := q.Name.String() == ipv4only
	if !known {
		header.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, header)
	if err := errors.Join(b.StartQuestions(), b.Question(q), b.StartAnswers()); err != nil {
		return nil, err
	}
	if known && q.Type == dnsmessage.TypeAAAA {
		for _, a := range ipv4onlyAddrs {
			r := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
			if err := b.AAAAResource(r, dnsmessage.AAAAResource{AAAA: embed(d.prefix, a).As16()}); err != nil {
				return nil, err
			}
		}
	}
	return b.Finish()
}

// embed is the IPv6 address that stands for an IPv4 one behind a prefix (RFC 6052
// section 2.2): the eight bits from 64 on stay zero.
func embed(prefix netip.Prefix, a netip.Addr) netip.Addr {
	b, at := prefix.Masked().Addr().As16(), prefix.Bits()/8
	for _, x := range a.As4() {
		if at == 8 {
			at++
		}
		b[at] = x
		at++
	}
	return netip.AddrFrom16(b)
}
