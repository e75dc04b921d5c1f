package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// relayConfig is what a relay needs; all fields are required.
type relayConfig struct {
	rate        int64  // bytes per second of one member
	listen      string // [IP]:PORT
	public      []netip.Addr
	machine     addrSet
	log         *slog.Logger
	credentials *credentials
	admitted    *admitted
	drops       *drops
}

// relay is the hub's STUN and TURN server (RFC 8489, RFC 8656), over UDP and streams. It
// keeps the rules on top of pion/turn: whom it serves, what it relays to, and
// that packets from one of its relays to another never leave the process.
// ChannelData it forwards itself, see forward.go; the control is pion/turn's.
//
// It is safe for concurrent use.
type relay struct {
	relayConfig
	binds     map[netip.Addr]netip.Addr // public address → the one to bind for it
	listeners []*listener
	lives     lives
	strangers *strangers
	known     *strangers              // limits for where members come from
	own       atomic.Pointer[addrSet] // public addresses and the machine's
	pumps     sync.WaitGroup
	streams   atomic.Int64 // members that come over one

	mu     sync.RWMutex // guards what follows; packets take it only to find a relay anew
	relays map[netip.AddrPort]*relayConn
	shares map[identity]*share
	past   usage // of members whose share is forgotten
}

// allocationsPerServer are a node's, for each of the hub's addresses: one that
// is in use, and some that it lost by moving and that have yet to expire.
const allocationsPerServer = 8

// newRelay opens the listeners; run serves on them.
func newRelay(cfg relayConfig) (*relay, error) {
	r := &relay{
		relayConfig: cfg,
		lives:       lives{permission: permissionLife, channel: channelLife},
		strangers:   newStrangers(strangerRate, strangerBurst),
		known:       newStrangers(knownRate, knownBurst),
		relays:      make(map[netip.AddrPort]*relayConn),
		shares:      make(map[identity]*share),
	}
	r.strangers.all = rate.NewLimiter(strangersRate, strangersBurst)
	r.setMachine(cfg.machine)
	if err := r.open(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// lives are how long what a client has asked for lasts.
type lives struct{ permission, channel time.Duration }

// serve starts pion/turn on each listener, as a server of its own: an event
// tells the address that a client sent to, which several listeners have.
func (r *relay) serve() error {
	for _, l := range r.listeners {
		if err := l.serve(l); err != nil {
			return err
		}
	}
	return nil
}

// setMachine takes the machine's addresses as they are now.
func (r *relay) setMachine(machine addrSet) {
	own := make(addrSet, len(machine)+len(r.public))
	for a := range machine {
		own[a] = struct{}{}
	}
	for _, a := range r.public {
		own[a] = struct{}{}
	}
	r.own.Store(&own)
}

// isOwn says whether packets to the address would come back to this machine.
func (r *relay) isOwn(a netip.Addr) bool { return r.own.Load().has(a) }

// servers are the addresses to give to members.
func (r *relay) servers() []netip.AddrPort {
	s := make([]netip.AddrPort, len(r.public))
	for i, a := range r.public {
		s[i] = netip.AddrPortFrom(a, r.addr().Port())
	}
	return s
}

func (r *relay) addr() netip.AddrPort { return addrPort(r.listeners[0].LocalAddr()) }

// run serves until ctx ends, or with an error of a listener. Then it closes
// the relay. Its pumps end soon, as those of streams do.
func (r *relay) run(ctx context.Context) error {
	err := r.serve()
	if err != nil {
		r.close()
		return err
	}
	broken := make(chan error, len(r.listeners))
	for _, l := range r.listeners {
		go func() {
			<-l.done
			broken <- l.err
		}()
	}
	left := len(r.listeners)
	select {
	case <-ctx.Done():
	case err = <-broken:
		left--
		err = fmt.Errorf("turn listener: %w", err)
	}
	r.close()
	for range left {
		<-broken
	}
	return err
}

// close is idempotent. Ending a listener ends its allocations in pion/turn,
// which closes their relay sockets.
func (r *relay) close() {
	for _, l := range r.listeners {
		l.unread.count(l.Conn, r.drops)
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			r.log.Warn("turn listener not closed", "err", err)
		}
	}
}
