package peer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// turnConn is the socket that a TURN client sees: it sends from the node's
// shared socket, and is never read, since what arrives is handed to the
// client.
type turnConn struct {
	socket Socket
	local  net.Addr
	closed atomic.Bool
}

func newTURNConn(socket Socket, server netip.Addr, port uint16) *turnConn {
	local := netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	if server.Is4() {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	}
	return &turnConn{socket: socket, local: net.UDPAddrFromAddrPort(local)}
}

// WriteTo sends to the server. It never blocks. After Close it fails, which
// ends the client's transactions that begin, or retransmit, after its own end.
func (c *turnConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not a UDP address")
	}
	// An error would end the client's transaction, and with it the relay,
	// for what may be a moment without a route; it retransmits by itself.
	send := c.socket.SendTo
	if isChannelData(b) && isPadded(b[4:]) {
		send = c.socket.Probe
	}
	_ = send(b, zeroAddr, canonical(a.AddrPort()))
	return len(b), nil
}

// ReadFrom is never called: the client does not listen.
func (c *turnConn) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }

// Close ends writes; the shared socket is not touched. The client never calls
// it.
func (c *turnConn) Close() error {
	c.closed.Store(true)
	return nil
}

// LocalAddr is the unspecified address with the socket's port.
func (c *turnConn) LocalAddr() net.Addr { return c.local }

// SetDeadline does nothing: writes do not block.
func (c *turnConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *turnConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *turnConn) SetWriteDeadline(time.Time) error { return nil }

// deallocate gives up the allocation that the server holds for our address
// from a run that could not (RFC 8656 section 7: a Refresh of lifetime 0). The
// server allows it to the same user only.
func deallocate(ctx context.Context, client *turn.Client, username, password string) error {
	lifetime := stun.RawAttribute{Type: stun.AttrLifetime, Value: make([]byte, 4)}
	refresh := []stun.Setter{stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest), lifetime}
	msg, err := stun.Build(append(refresh, stun.Fingerprint)...)
	if err != nil {
		return fmt.Errorf("deallocate: %w", err)
	}
	res, err := client.PerformTransactionWithContext(msg, client.TURNServerAddr(), false, ctx)
	if err != nil {
		return fmt.Errorf("deallocate: %w", err)
	}
	var nonce stun.Nonce
	var realm stun.Realm
	if err := res.Msg.Parse(&nonce, &realm); err != nil {
		return fmt.Errorf("deallocate: %w", err)
	}
	msg, err = stun.Build(append(refresh, stun.NewUsername(username), realm, nonce,
		stun.NewLongTermIntegrity(username, realm.String(), password), stun.Fingerprint)...)
	if err != nil {
		return fmt.Errorf("deallocate: %w", err)
	}
	if _, err = client.PerformTransactionWithContext(msg, client.TURNServerAddr(), false, ctx); err != nil {
		return fmt.Errorf("deallocate: %w", err)
	}
	return nil
}
