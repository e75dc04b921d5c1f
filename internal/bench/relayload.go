package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// relayPayload is what a packet carries through a relay, in bytes.
	relayPayload = 1280

	// channelHeader is ChannelData's (RFC 8656 section 12.4).
	channelHeader = 4

	// superPackets are joined to one by a sender that uses UDP_SEGMENT: as
	// many as fit.
	superPackets = 65507 / (relayPayload + channelHeader)

	// generatorLimit is the loss below which it was the load that was slow.
	generatorLimit = 0.006
)

// relayLoad is one that a relay is measured with.
type relayLoad struct {
	title, quantity string
	flows           int  // of an allocation and a channel each
	down            bool // from the peer to the client
	super           bool // sent as super-packets, received joined
	rate            int  // packets per second; 0: as many as can be
}

var relayLoads = []relayLoad{
	{title: "1 flow, client→peer", quantity: "up", flows: 1},
	{title: "1 flow, peer→client", quantity: "down", flows: 1, down: true},
	{title: "16 flows in bursts of 4, client→peer", quantity: "up16", flows: 16},
	{title: "1 flow, client→peer, super-packets", quantity: "super up", flows: 1, super: true},
	{title: "1 flow, peer→client, super-packets", quantity: "super down", flows: 1, down: true, super: true},
	{title: "1 flow, client→peer, 20,000 packets/s", quantity: "steady", flows: 1, rate: 20_000},
}

// mostFlows is how many a load has at most.
const mostFlows = 16

// flow is a socket that a load sends by.
type flow struct {
	raw   syscall.RawConn
	batch *batch
	burst int // buffers at once
}

// run sends the load through a server and counts what comes out of it.
func (l relayLoad) run(t *trial, ctx context.Context, s *relayServer) (string, error) {
	peer, err := t.b.ListenUDP(netip.AddrPortFrom(t.b.Addr(), 0))
	if err != nil {
		return "", err
	}
	defer peer.Close()
	var clients []*turnClient
	for i := range l.flows {
		c, err := t.newTURNClient(s.addr, s.login(i), addrPort(peer.LocalAddr()))
		if err != nil {
			return "", err
		}
		clients = append(clients, c)
	}
	flows, into, err := l.ends(peer, clients)
	if err != nil {
		return "", err
	}
	var cpu time.Duration
	send := func(seconds float64, counter *int) error { return l.send(ctx, flows, seconds, counter) }
	got, err := into.stream(send, t.warmUp/2, t.seconds, func() error {
		now, err := s.proc.cpu()
		cpu = now - cpu
		return err
	})
	if err != nil {
		return "", err
	}
	t.add(l.quantity, got.rate()/1e3)
	t.add(l.quantity+" loss", 100*got.loss())
	if got.received == 0 {
		return fmt.Sprintf("nothing of %d packets arrived", got.sent), nil
	}
	cost := cpu.Seconds() / (float64(got.received) * relayPayload / 1e9)
	t.add(l.quantity+" cpu", cost)
	return fmt.Sprintf("%.0f k/s, %.2f Gbit/s, %.2f CPU s/GB, %.1f %% lost", got.rate()/1e3, got.rate()*relayPayload*8/1e9, cost, 100*got.loss()), nil
}

// ends are what to send by, and where it arrives.
func (l relayLoad) ends(peer *net.UDPConn, clients []*turnClient) (flows []flow, into sink, err error) {
	from := []*net.UDPConn{peer}
	if l.down {
		if err := connect(peer, clients[0].relayed); err != nil {
			return nil, into, err
		}
		into = sink{conn: clients[0].conn, size: relayPayload + channelHeader, header: channelHeader, joined: l.super}
	} else {
		from = from[:0]
		for _, c := range clients {
			from = append(from, c.conn)
		}
		into = sink{conn: peer, size: relayPayload, joined: l.super}
	}
	for _, c := range from {
		raw, err := c.SyscallConn()
		if err != nil {
			return nil, into, err
		}
		flows = append(flows, flow{raw, l.batch(), l.burst()})
	}
	return flows, into, nil
}

func (l relayLoad) burst() int {
	switch {
	case l.super, l.flows > 1:
		return 4
	}
	return batchSize
}

// packet is the size of what the load sends, and where its number stands.
func (l relayLoad) packet() (size, number int) {
	if l.down {
		return relayPayload, 0
	}
	return relayPayload + channelHeader, channelHeader
}

// batch makes the buffers of a flow, with the headers in place.
func (l relayLoad) batch() *batch {
	size, number := l.packet()
	count := 1
	if l.super {
		count = superPackets
	}
	b := newBatch(l.burst(), count*size)
	for _, buf := range b.bufs {
		for ; number > 0 && len(buf) > 0; buf = buf[size:] {
			binary.BigEndian.PutUint16(buf, turnChannel)
			binary.BigEndian.PutUint16(buf[2:], relayPayload)
		}
	}
	if l.super {
		b.segment(size)
	}
	return b
}

// send sends by all flows in turn for a while.
func (l relayLoad) send(ctx context.Context, flows []flow, seconds float64, counter *int) error {
	size, number := l.packet()
	sent := 0
	for start := time.Now(); ctx.Err() == nil; {
		past := time.Since(start).Seconds()
		if past >= seconds {
			return nil
		}
		for _, f := range flows {
			n := f.burst
			if l.rate > 0 {
				if n = min(n, int(past*float64(l.rate))-sent); n == 0 {
					time.Sleep(pace)
					continue
				}
			}
			if counter != nil {
				next := uint64(*counter)
				for _, buf := range f.batch.bufs[:n] {
					for ; len(buf) > 0; buf = buf[size:] {
						next++
						binary.BigEndian.PutUint64(buf[number:], next)
					}
				}
			}
			n, err := f.batch.send(f.raw, n)
			if err != nil {
				return err
			}
			sent += n
			if counter != nil {
				*counter += n * len(f.batch.bufs[0]) / size
			}
		}
	}
	return ctx.Err()
}

// connect gives a socket the only one that it sends to and receives from.
func connect(c *net.UDPConn, to netip.AddrPort) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.Connect(int(fd), &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	})
	if controlErr != nil {
		return controlErr
	}
	return err
}
