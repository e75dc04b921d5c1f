package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// Server is a STUN and TURN server, over UDP.
type Server struct {
	Addr               netip.AddrPort
	Username, Password string // TURN credentials (RFC 8489 section 9.2); without: STUN only
}

// Waits of a server's two loops.
const (
	allocateWait    = 500 * time.Millisecond // after a failed Allocate, doubling
	allocateMaxWait = 30 * time.Second
)

// server is one Server in use: it keeps the reflexive address and the
// allocation. Its goroutines belong to run.
type server struct {
	addr     netip.AddrPort
	udp      *net.UDPAddr
	underlay *Underlay
	probe    *probe
	answers  atomic.Uint64               // Binding responses so far
	client   atomic.Pointer[turn.Client] // of the present allocation, or the try for one
	renewed  chan struct{}               // credentials came
	verify   chan struct{}               // the allocation may be lost: look

	mu                 sync.Mutex // guards the credentials
	username, password string
}

func newServer(u *Underlay, addr netip.AddrPort) *server {
	return &server{
		addr: addr, udp: net.UDPAddrFromAddrPort(addr), underlay: u, probe: newProbe(),
		renewed: make(chan struct{}, 1), verify: make(chan struct{}, 1),
	}
}

// run keeps the server in use until ctx ends.
func (s *server) run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { s.keepReflexive(ctx) })
	s.keepRelay(ctx)
	work.Wait()
}

// setCredentials takes new ones for the next allocation; a standing one goes
// on under those it was made with.
func (s *server) setCredentials(username, password string) {
	s.mu.Lock()
	changed := s.username != username || s.password != password
	s.username, s.password = username, password
	s.mu.Unlock()
	if changed {
		signal(s.renewed)
		signal(s.verify) // they came from a hub that may have started anew
	}
}

func (s *server) credentials() (username, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.username, s.password
}

// poke asks for the reflexive address again, now.
func (s *server) poke() { signal(s.probe.wake) }

// signal makes the reader of c look, if it is not about to already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// handle takes a packet from the server's address. It does not keep b.
func (s *server) handle(local netip.Addr, b []byte) {
	if isSTUN(b) {
		switch stunType(b) {
		case bindingSuccess, bindingError:
			s.probe.handle(local, b)
			return
		case bindingRequest:
			s.underlay.drops.junk.Add(1)
			return
		}
	} else if !isChannelData(b) {
		s.underlay.drops.junk.Add(1)
		return
	}
	c := s.client.Load()
	if c == nil {
		s.underlay.drops.unknown.Add(1)
		return
	}
	if _, err := c.HandleInbound(b, s.udp); err != nil {
		s.underlay.drops.junk.Add(1)
	}
}

// keepRelay makes the allocation and makes it again whenever it is lost.
func (s *server) keepRelay(ctx context.Context) {
	var wait time.Duration
	for ctx.Err() == nil {
		r, err := s.allocate(ctx)
		if err != nil {
			s.underlay.settle(s)
			if ctx.Err() == nil {
				s.underlay.log.Debug("allocating a relay failed", "server", s.addr, "err", err)
			}
			wait = min(max(2*wait, allocateWait), allocateMaxWait)
			s.pause(ctx, wait, err)
			continue
		}
		wait = 0
		s.underlay.setRelay(s, r)
		s.underlay.log.Debug("relay allocated", "server", s.addr, "local", r.addr)
		err = r.run(ctx)
		s.underlay.setRelay(s, nil)
		s.client.Store(nil)
		if err != nil {
			s.underlay.log.Info("relay lost", "server", s.addr, "local", r.addr, "err", err)
		}
	}
}

var errNoCredentials = errors.New("no TURN credentials")

// pause waits before the next Allocate, until new credentials come at most.
func (s *server) pause(ctx context.Context, wait time.Duration, why error) {
	if errors.Is(why, errNoCredentials) {
		wait = time.Hour // nothing but credentials can help
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-s.renewed:
	case <-t.C:
	}
}

// allocate makes an allocation of the server's address family.
func (s *server) allocate(ctx context.Context) (*Relay, error) {
	username, password := s.credentials()
	if username == "" {
		return nil, errNoCredentials
	}
	socket := newTURNConn(s.underlay.socket, s.addr.Addr(), s.underlay.port)
	client, err := s.newClient(socket, username, password)
	if err != nil {
		return nil, fmt.Errorf("allocate: %w", err)
	}
	s.client.Store(client)
	pc, err := client.AllocateWithContext(ctx)
	if refused(err, stun.CodeAllocMismatch) {
		// The server still has an allocation of an earlier run for our port.
		if err = deallocate(ctx, client, username, password); err == nil {
			pc, err = client.AllocateWithContext(ctx)
		}
	}
	if err == nil {
		var r *Relay
		if r, err = newRelay(s, client, socket, pc); err == nil {
			return r, nil
		}
		_ = pc.Close()
	}
	_ = socket.Close()
	client.Close()
	s.client.Store(nil)
	return nil, fmt.Errorf("allocate: %w", err)
}

func (s *server) newClient(socket *turnConn, username, password string) (*turn.Client, error) {
	family := turn.RequestedAddressFamilyIPv4
	if s.addr.Addr().Is6() {
		family = turn.RequestedAddressFamilyIPv6
	}
	return turn.NewClient(&turn.ClientConfig{
		TURNServerAddr:         s.addr.String(),
		Username:               username,
		Password:               password,
		RequestedAddressFamily: family,
		Conn:                   socket,
		Net:                    netless{},
		LoggerFactory:          pionLog{s.underlay.log},
		// The lanes renew their permissions one by one.
		PermissionRefreshInterval: 24 * time.Hour,
	})
}

func refused(err error, code stun.ErrorCode) bool {
	var refusal *stun.TurnError
	return errors.As(err, &refusal) && refusal.ErrorCodeAttr.Code == code
}
