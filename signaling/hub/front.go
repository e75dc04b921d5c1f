package hub

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"github.com/pion/logging"
	"github.com/pion/turn/v5"
)

// sender is where runs leave: a socket, or a client's stream. It is safe for
// concurrent use. What it does not take is lost.
type sender interface {
	WriteRun(*udpbatch.Run) (sent int, err error)
}

// front is the side of the relay that clients are at: one UDP socket, or one
// client's stream. It reads for a pion/turn server of its own, forwards ChannelData
// itself, and knows the allocations that were made there.
type front struct {
	relay  *relay
	public netip.Addr // the address that clients know it by
	to     sender     // leads to them

	proxied bool // clients' addresses are those of proxies

	// The reader owns these.
	flows   flows
	request []byte // what pion/turn has just read

	mu          sync.RWMutex // guards allocations
	allocations map[netip.AddrPort]*allocation

	end  sync.Once
	done chan struct{} // closed when pion/turn reads no more
	err  error         // then: why
}

func newFront(r *relay, public netip.Addr, to sender) *front {
	f := &front{
		relay: r, public: public, to: to,
		allocations: make(map[netip.AddrPort]*allocation), done: make(chan struct{}),
	}
	f.flows.drops = r.drops
	return f
}

// serve starts pion/turn on what the front reads from. Closing that ends it: it
// needs no Close of its own.
func (f *front) serve(from net.PacketConn) error {
	r := f.relay
	_, stream := from.(*stream)
	if _, err := turn.NewServer(turn.ServerConfig{
		Realm:              realm,
		AuthHandler:        r.credentials.authenticate,
		QuotaHandler:       r.underQuota,
		EventHandler:       f.events(),
		PermissionTimeout:  r.lives.permission,
		ChannelBindTimeout: r.lives.channel,
		// Over which family a stream comes says nothing of what its client wants to
		// reach: IPv4, unless it asks for IPv6 (RFC 8656 section 7.2).
		StrictAddressFamily: stream,
		LoggerFactory:       &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            from,
			RelayAddressGenerator: &generator{relay: r, prefer: f.public, replaces: f.replaces},
			PermissionHandler:     f.permit,
		}},
	}); err != nil {
		return fmt.Errorf("turn server: %w", err)
	}
	return nil
}

// hand gives pion/turn a message. What was to be forwarded before it is.
func (f *front) hand(p, message []byte) int {
	f.flows.end()
	f.request = p[:copy(p, message)]
	return len(f.request)
}

// close ends the allocations that there are.
func (f *front) close() {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, a := range f.allocations {
		if a.conn != nil {
			a.conn.Close()
		}
	}
}

// finish notes that pion/turn reads no more.
func (f *front) finish(err error) {
	f.end.Do(func() {
		f.err = err
		close(f.done)
	})
}

// passes says whether what pion/turn has for a client may go, and counts it against
// the client's member.
func (f *front) passes(p []byte, client netip.AddrPort) bool {
	switch {
	case toStranger(p):
		forbid(p)
	case isRelayed(p):
		a := f.allocation(client)
		if a == nil {
			break
		}
		if !a.share.meter.take(len(p)) {
			f.relay.drops.overRate.Add(1)
			return false
		}
		a.share.traffic.down.add(1, len(p))
	}
	return true
}
