package hub

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"github.com/pion/stun/v4"
)

// listener is a UDP socket that members and strangers send to, one of several
// on its address: who sends from one place always comes to the same. It answers
// strangers only so often: a reply is larger than what may have come from a
// forged address.
type listener struct {
	*udpbatch.Conn
	*front
	site   *stunSite       // answers Binding requests
	batch  *udpbatch.Batch // being taken apart, or nil; the reader's
	unread unread
}

// maxReadErrors in a row are taken for passing ones.
const maxReadErrors = 1000

// socketBuffer absorbs a burst while the one reader is busy, in bytes. Nothing
// is taken before it is needed.
const socketBuffer = 4 << 20

// listenersPerAddress lets as many processors read at a time. It is asked once:
// with another number, clients would come to other listeners than their
// allocations are at.
var listenersPerAddress = func() int { return min(runtime.GOMAXPROCS(0), 8) }

// open binds sockets for each public address: the address itself where this
// machine has it, so that replies leave from where requests came to; else (a
// router in front maps it) all of its family.
func (r *relay) open() error {
	host, port, err := parseListen(r.listen)
	if err != nil {
		return config.WithHint(fmt.Errorf("turn listen address %q: %w", r.listen, err), "--turn-listen takes [IP]:PORT")
	}
	r.binds = bindAddrs(r.public, host, r.machine)
	for try := 0; ; try++ {
		err := r.openAll(port)
		if err == nil {
			return nil
		}
		r.close()
		r.listeners = nil
		// A port that the system chose for one address may be taken on another.
		if port != 0 || try == 10 || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
}

func (r *relay) openAll(port uint16) error {
	bound, each := make(map[netip.Addr]bool), listenersPerAddress()
	for _, public := range r.public {
		bind := r.binds[public]
		if bound[bind] {
			continue
		}
		bound[bind] = true
		group, err := udpbatch.Listen(netip.AddrPortFrom(bind, port), each)
		if err != nil {
			at := netip.AddrPortFrom(bind, port).String()
			return listenError("STUN and TURN (UDP)", at, "--turn-listen", err)
		}
		for _, conn := range group {
			r.listeners = append(r.listeners, newListener(r, conn, public))
		}
		port = r.addr().Port()
	}
	return nil
}

func newListener(r *relay, conn *udpbatch.Conn, public netip.Addr) *listener {
	conn.SetBuffers(socketBuffer)
	return &listener{Conn: conn, front: newFront(r, public, conn)}
}

// bindAddrs says which local address stands for each public one. host is what
// the operator wants, if anything.
func bindAddrs(public []netip.Addr, host netip.Addr, machine addrSet) map[netip.Addr]netip.Addr {
	binds := make(map[netip.Addr]netip.Addr)
	mapped := make(map[bool]bool) // by family: some address is not on this machine
	for _, a := range public {
		if !machine.has(a) && !a.IsLoopback() {
			mapped[a.Is4()] = true
		}
	}
	for _, a := range public {
		switch {
		case host.IsValid() && host.Is4() == a.Is4():
			binds[a] = host
		case !mapped[a.Is4()]:
			binds[a] = a
		case a.Is4():
			binds[a] = netip.IPv4Unspecified()
		default:
			binds[a] = netip.IPv6Unspecified()
		}
	}
	return binds
}

// ReadFrom forwards ChannelData, answers Binding requests and returns what else
// comes, for pion/turn. It returns an error only when the listener is of no more use:
// pion stops at the first.
func (l *listener) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if l.batch == nil {
			if err := l.read(); err != nil {
				l.finish(err)
				return 0, nil, err
			}
		}
		d, from, ok := l.batch.Next()
		switch {
		case !ok:
			l.flows.end()
			l.batch.Release()
			l.batch = nil
		case isChannelData(d):
			l.forward(d, from)
		case isBindingRequest(d):
			l.flows.end()
			l.site.answer(d, from, 0, l.UDPConn)
		default:
			return l.hand(p, d), net.UDPAddrFromAddrPort(from), nil
		}
	}
}

// read waits for the next batch.
func (l *listener) read() (err error) {
	for range maxReadErrors {
		l.batch, err = l.ReadBatch()
		if err == nil {
			l.flows.now = int64(time.Since(meterStart))
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			break
		}
	}
	return err
}

// WriteTo is for pion/turn. It counts what a stranger may provoke against the
// source's limit, and what is relayed to a client against its member's.
func (l *listener) WriteTo(p []byte, to net.Addr) (int, error) {
	if toStranger(p) && !l.relay.mayAsk(addrPort(to).Addr()) {
		l.relay.drops.strangers.Add(1)
		return len(p), nil
	}
	if !l.passes(p, addrPort(to)) {
		return len(p), nil
	}
	return l.UDPConn.WriteTo(p, to)
}

// mayAsk counts a reply to the address and says whether it is within its limit.
func (r *relay) mayAsk(a netip.Addr) bool {
	if r.admitted.known(a) {
		return r.known.allow(a)
	}
	return r.strangers.allow(a)
}

// toStranger says whether a message is one that needs no credentials to get:
// a Binding response, or any error (RFC 8489 section 5: class bits 0x0110,
// type 0x0101).
func toStranger(p []byte) bool {
	if len(p) < 2 || p[0]&0xc0 != 0 {
		return false // ChannelData
	}
	kind := uint16(p[0])<<8 | uint16(p[1])
	return kind&0x0110 == 0x0110 || kind == 0x0101
}

// isRelayed says whether a message carries a peer's packet to a client: as
// ChannelData or in a Data indication.
func isRelayed(p []byte) bool {
	return len(p) >= 2 && (p[0]&0xc0 == 0x40 || p[0] == 0 && p[1] == 0x17)
}

// forbid makes a refused ChannelBind say 403 (RFC 8656 section 12.2). pion/turn
// says 401, as if other credentials would help; what asks for credentials has
// a nonce. The reply is not signed.
func forbid(p []byte) {
	m := &stun.Message{Raw: p}
	if p[0] != 0x01 || p[1] != 0x19 || m.Decode() != nil || m.Contains(stun.AttrNonce) {
		return
	}
	if v, err := m.Get(stun.AttrErrorCode); err == nil && len(v) >= 4 && v[2] == 4 && v[3] == 1 {
		v[3] = 3
	}
}
