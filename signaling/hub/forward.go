package hub

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
)

// The way of a relayed packet, in runs of equal ones; pion/turn sees none of
// them. From a client:
//
//  1. listener.ReadFrom takes a batch off its socket, or stream.ReadFrom off a
//     stream. What is not ChannelData it hands to pion/turn, in order: all before it
//     is forwarded first.
//  2. front.routeOf finds where the client's channel leads: once per run.
//  3. The client's member pays for each, by its meter.
//  4. To another live relay of this hub and network: with the channel that it
//     has there put into the header in place, out of that client's front.
//     Its member pays, too. Where it has none, into the relay's queue.
//  5. To any other address of this machine, or of a form that is never relayed
//     to: nowhere. Else, without the header, out of the relay's socket.
//
// And from a peer:
//
//  1. relayConn.pump takes a batch off the relay's socket.
//  2. bindings.in finds the client's channel: once per turn. Where it has a
//     permission alone, the packets go through pion/turn's hands.
//  3. The member pays; a header goes before each, out of the client's front.
//
// A run leaves when a packet does not fit it, and at the end of its batch:
// nothing waits for more. The payload is copied by the kernel only, and nothing
// here allocates per packet.

// outgoing is a run on its way out of one socket. It is not safe for
// concurrent use.
type outgoing struct {
	drops    *drops
	run      *udpbatch.Run
	conn     sender
	to       netip.AddrPort
	up, down *traffic // of whose members the run is; either may be nil
}

// set says where the datagrams go from now on, and whom they count for.
func (o *outgoing) set(conn sender, to netip.AddrPort, up, down *traffic) {
	o.conn, o.to, o.up, o.down = conn, to, up, down
	o.run.Reset(to)
}

// append adds a datagram, in one piece or two.
func (o *outgoing) append(head, rest []byte) {
	if !o.run.Fits(len(head) + len(rest)) {
		o.flush()
	}
	o.run.Append(head, rest)
}

// flush sends what there is.
func (o *outgoing) flush() {
	n := o.run.Len()
	if n == 0 {
		return
	}
	sent, _ := o.conn.WriteRun(o.run)
	if sent < n {
		o.drops.unsent.Add(uint64(n - sent))
	}
	bytes := o.run.Bytes(sent)
	if o.down != nil {
		o.down.down.add(sent, bytes)
		bytes -= sent * channelHeader
	}
	if o.up != nil {
		o.up.up.add(sent, bytes)
	}
	o.run.Reset(o.to)
}

// flows are the runs that a front's reader has begun: several, for packets of
// different clients and channels take turns.
type flows struct {
	drops *drops
	now   int64 // when the batch was read, as meters have it
	all   [8]*flow
	used  int
	next  int   // to be given up when all are used
	last  *flow // of the last packet, or nil
}

// flow is the run of what one client sends on one channel.
type flow struct {
	outgoing
	client netip.AddrPort
	number uint16
	route  route
}

// route is where a channel of a client's leads.
type route struct {
	from *relayConn     // nil: nowhere, it has no such channel
	drop *atomic.Uint64 // not nil: nowhere, for this reason
	to   *allocation    // not nil: to another relay of the hub
	on   uint16         // the channel that its client has for it; 0: none
	out  sender         // the way there
	addr netip.AddrPort // and where to send
}

// forward sends a client's ChannelData on, now or when the run is complete.
func (f *front) forward(d []byte, client netip.AddrPort) {
	drops := f.relay.drops
	number, payload, ok := parseChannelData(d)
	if !ok {
		drops.channels.Add(1)
		return
	}
	run := f.flows.last
	if run == nil || run.number != number || run.client != client {
		run = f.flow(client, number)
	}
	now, r := f.flows.now, &run.route
	switch {
	case r.from == nil:
		drops.channels.Add(1)
	case !r.from.share.meter.takeAt(now, len(payload)):
		drops.overRate.Add(1)
	case r.drop != nil:
		r.drop.Add(1)
	case r.to == nil:
		run.append(nil, payload)
	case r.on == 0:
		r.to.conn.enqueue(payload, r.from.announced)
	case !r.to.share.meter.takeAt(now, channelHeader+len(payload)):
		drops.overRate.Add(1)
	default:
		putChannelHeader(d, r.on, len(payload))
		run.append(nil, d[:channelHeader+len(payload)])
	}
}

// flow is the client's on the channel, begun if it is not there.
func (f *front) flow(client netip.AddrPort, number uint16) *flow {
	fs := &f.flows
	for i := range fs.used {
		if run := fs.all[i]; run.number == number && run.client == client {
			fs.last = run
			return run
		}
	}
	if fs.used < len(fs.all) {
		if fs.all[fs.used] == nil {
			fs.all[fs.used] = &flow{outgoing: outgoing{drops: fs.drops, run: udpbatch.NewRun()}}
		}
		fs.last = fs.all[fs.used]
		fs.used++
	} else {
		fs.last = fs.all[fs.next]
		fs.next = (fs.next + 1) % len(fs.all)
		fs.last.flush()
	}
	fs.last.client, fs.last.number = client, number
	fs.last.begin(f.routeOf(client, number))
	return fs.last
}

// begin makes the run's way the route's, if that leads to a socket.
func (f *flow) begin(r route) {
	f.route = r
	switch {
	case r.out == nil:
	case r.to == nil:
		f.set(r.out, r.addr, &r.from.share.traffic, nil)
	default:
		f.set(r.out, r.addr, &r.from.share.traffic, &r.to.share.traffic)
	}
}

// end sends all that was forwarded. Routes may change before the next packet.
func (fs *flows) end() {
	for i := range fs.used {
		fs.all[i].flush()
	}
	fs.used, fs.next, fs.last = 0, 0, nil
}

// routeOf finds where a channel leads now.
func (f *front) routeOf(client netip.AddrPort, number uint16) route {
	a := f.allocation(client)
	if a == nil || a.conn == nil {
		return route{}
	}
	ch := a.bindings.out(number)
	if ch == nil {
		return route{}
	}
	r := f.relay
	switch {
	case r.isOwn(ch.peer.Addr()):
		return a.conn.routeInside(r.relayOf(ch))
	case !r.admitted.formAllowed(ch.peer.Addr()):
		return route{from: a.conn, drop: &r.drops.forbidden}
	}
	return route{from: a.conn, out: a.conn.socket, addr: ch.peer}
}

// routeInside leads to another relay, nil if there is none.
func (c *relayConn) routeInside(other *relayConn) route {
	to := c.peer(other)
	if to == nil {
		return route{from: c, drop: &c.relay.drops.toHub}
	}
	on, ok := to.bindings.in(addrPort(c.announced))
	if !ok {
		return route{from: c, drop: &c.relay.drops.unasked}
	}
	return route{from: c, to: to, on: on, out: to.front.to, addr: to.client}
}

// relayOf is the live relay that a channel leads to, or nil.
func (r *relay) relayOf(ch *channel) *relayConn {
	other := ch.relay.Load()
	if other == nil || other.isClosed() {
		other = r.relayAt(ch.peer)
		ch.relay.Store(other)
	}
	return other
}

// downlink is what a relay's reader forwards, out of one batch. Packets of
// different peers make one run.
type downlink struct {
	outgoing
	heads [udpbatch.MaxSegments][channelHeader]byte // of the run's datagrams
}

var downlinks = sync.Pool{New: func() any { return &downlink{outgoing: outgoing{run: udpbatch.NewRun()}} }}

// forward sends a batch of peers' packets on to the client.
func (c *relayConn) forward(b *udpbatch.Batch, a *allocation) {
	down := downlinks.Get().(*downlink)
	defer downlinks.Put(down)
	drops := c.relay.drops
	down.drops = drops
	down.set(a.front.to, a.client, nil, &c.share.traffic)
	now := int64(time.Since(meterStart))
	var peer netip.AddrPort
	var number uint16
	var drop *atomic.Uint64
	for {
		d, from, ok := b.Next()
		if !ok {
			down.flush()
			return
		}
		if from != peer {
			peer = from
			number, drop = c.admit(a, peer)
		}
		switch {
		case drop != nil:
			drop.Add(1)
		case number == 0:
			c.enqueue(d, net.UDPAddrFromAddrPort(peer))
		case !c.share.meter.takeAt(now, channelHeader+len(d)):
			drops.overRate.Add(1)
		default:
			down.frame(number, d)
		}
	}
}

// admit says on which channel the peer's packets go to the client, 0 for none,
// or why they do not.
func (c *relayConn) admit(a *allocation, peer netip.AddrPort) (number uint16, drop *atomic.Uint64) {
	if c.relay.isOwn(peer.Addr()) {
		return 0, &c.relay.drops.fromHub // relays here do not send over sockets
	}
	number, ok := a.bindings.in(peer)
	if !ok {
		return 0, &c.relay.drops.unasked
	}
	return number, nil
}

// frame appends a packet as ChannelData.
func (d *downlink) frame(number uint16, payload []byte) {
	if !d.run.Fits(channelHeader + len(payload)) {
		d.flush()
	}
	head := d.heads[d.run.Len()][:]
	putChannelHeader(head, number, len(payload))
	d.append(head, payload)
}
