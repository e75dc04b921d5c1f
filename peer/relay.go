package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

const (
	// maxLanes bounds the destinations of one relay in use at a time. The
	// channel of each outlives its lane: pion binds it anew for as long as
	// the allocation lives, and the server looks it up in a list.
	maxLanes = 256

	// verifyEvery is the pause between two looks whether the server still
	// has the allocation. Some servers drop what has none in silence, so
	// that after verifyFor counts.
	verifyEvery = 30 * time.Second
	verifyFor   = 2 * time.Second

	// maxRelayed is the largest datagram that comes out of a relay, in
	// bytes; pion's server cuts at 1,600.
	maxRelayed = 2048
)

var (
	errRelayClosed = errors.New("relay is closed")
	errRelayFull   = errors.New("relay has too many destinations")
	errRelayLost   = errors.New("relay: the server has no such allocation any more")
)

// Relay is one TURN allocation of this node (RFC 8656), shared by all peers.
// Safe for concurrent use. Two relays are the same if they are the same
// pointer; one that is lost never comes back, a new one takes its place.
type Relay struct {
	addr   netip.AddrPort // the relayed address
	server *server
	client *turn.Client
	socket *turnConn      // of client
	conn   net.PacketConn // the allocation

	mu      sync.Mutex // guards lanes, permits and closed
	lanes   map[netip.AddrPort]*lane
	permits map[netip.Addr]*permit
	closed  bool

	done chan struct{}  // closed with closed
	work sync.WaitGroup // the lanes
}

func newRelay(s *server, client *turn.Client, socket *turnConn, pc net.PacketConn) (*Relay, error) {
	a, ok := pc.LocalAddr().(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("relay: address %v is not UDP", pc.LocalAddr())
	}
	return &Relay{
		addr: canonical(a.AddrPort()), server: s, client: client, socket: socket, conn: pc,
		lanes:   make(map[netip.AddrPort]*lane),
		permits: make(map[netip.Addr]*permit),
		done:    make(chan struct{}),
	}, nil
}

// Addr is the relayed address: what a peer sends to.
func (r *Relay) Addr() netip.AddrPort { return r.addr }

// Server is the address of the TURN server.
func (r *Relay) Server() netip.AddrPort { return r.server.addr }

// Send sends a datagram to a peer's address through the relay. It copies b
// and never blocks: each destination has a short queue of its own, since the
// first packet has to wait for the server's permission.
func (r *Relay) Send(b []byte, to netip.AddrPort) error {
	to = canonical(to)
	if to.Addr().Is4() != r.addr.Addr().Is4() {
		return fmt.Errorf("relay %s: %s is of the other address family", r.addr, to)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errRelayClosed
	}
	l := r.lanes[to]
	if l == nil {
		if len(r.lanes) >= maxLanes {
			return errRelayFull
		}
		l = newLane(r, to)
		r.lanes[to] = l
		r.work.Go(l.run)
	}
	return l.push(b)
}

// run moves what comes in through the relay until ctx ends or the allocation
// is lost, which is the error. The allocation is given up in any case.
func (r *Relay) run(ctx context.Context) error {
	read := make(chan error, 1)
	go func() { read <- r.read() }()
	err := r.watch(ctx, read)
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.done)
	// Closing the allocation tells the server without waiting for its
	// answer; the rest ends what still waits for one.
	_ = r.conn.Close()
	_ = r.socket.Close()
	r.client.Close()
	r.work.Wait()
	if err == nil {
		<-read
	}
	return err
}

// watch returns nil when ctx ends, else why the relay is of no use any more.
func (r *Relay) watch(ctx context.Context, read chan error) error {
	unblock := context.AfterFunc(ctx, r.client.Close)
	defer unblock()
	tick := time.NewTicker(verifyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-read:
			return err
		case <-tick.C:
		case <-r.server.verify:
		}
		if err := r.verify(ctx); err != nil {
			_ = r.conn.Close()
			<-read
			return err
		}
	}
}

// read hands on what peers sent to the relayed address.
func (r *Relay) read() error {
	b := make([]byte, maxRelayed)
	u := r.server.underlay
	for {
		n, from, err := r.conn.ReadFrom(b)
		if err != nil {
			return fmt.Errorf("relay %s: %w", r.addr, err)
		}
		if a, ok := from.(*net.UDPAddr); ok {
			u.relayed(r, canonical(a.AddrPort()), b[:n])
		}
	}
}

// verify asks the server for a permission that nobody needs, for our own
// relayed address: any answer but a plain refusal of that address says that
// the allocation is gone, and so does silence from a server that answers a
// Binding request meanwhile.
func (r *Relay) verify(ctx context.Context) error {
	answers := r.server.answers.Load()
	r.server.poke()
	asked := make(chan error, 1)
	r.work.Go(func() { asked <- r.ask() })
	t := time.NewTimer(verifyFor)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-asked:
		return err
	case <-t.C:
	}
	if r.server.answers.Load() != answers {
		return errRelayLost
	}
	return nil // the server is out of reach: it may still have the allocation
}

// ask asks for the permission, for as long as the client tries. It returns an
// error only if the server said that the allocation is gone.
func (r *Relay) ask() error {
	start := time.Now()
	for range 3 {
		err := r.client.CreatePermission(net.UDPAddrFromAddrPort(r.addr))
		var refusal *stun.TurnError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &refusal) && !alive(refusal.ErrorCodeAttr.Code):
			return fmt.Errorf("%w: %w", errRelayLost, err)
		case refusal != nil || time.Since(start) > time.Second:
			return nil
		}
		// A stale nonce (RFC 8489 section 9.2.4): the client has the new one.
	}
	return nil
}

// alive says whether a refused CreatePermission still proves an allocation.
func alive(code stun.ErrorCode) bool {
	return code == stun.CodeForbidden || code == stun.CodePeerAddrFamilyMismatch
}

// lost says whether the relay carries nothing any more.
func (r *Relay) lost() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}
