package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

// turnClient asks one TURN server for one allocation and what belongs to it
// (RFC 8656), from the node's shared socket. Its requests wait for answers, each
// in its caller's goroutine; what arrives is handed to handle. Safe for
// concurrent use.
type turnClient struct {
	socket             Socket
	server             netip.AddrPort
	username, password string // empty: for a server that asks for none

	mu      sync.Mutex // guards all below
	realm   stun.Realm
	nonce   stun.Nonce
	key     stun.MessageIntegrity // nil: the server has not asked for credentials
	waiting map[transactionID]turnWaiter
	kick    chan struct{} // closed, and another, when all that waits is to be sent again
}

// turnWaiter is a request without an answer so far.
type turnWaiter struct {
	answer chan *stun.Message
	key    stun.MessageIntegrity // that the request was signed with; nil: it was not
}

var (
	errTURNSilent    = errors.New("the TURN server does not answer")
	errNoCredentials = errors.New("the TURN server wants credentials")
	errNoFamily      = errors.New("the TURN server relays at no address of the family") // coturn says so with 0.0.0.0:0
)

// turnTries is how often a request is made: without credentials, with them,
// and with a new nonce, for which the server may ask at any time (RFC 8489
// section 9.2.4).
const turnTries = 3

func newTURNClient(socket Socket, server netip.AddrPort, username, password string) *turnClient {
	return &turnClient{
		socket: socket, server: server, username: username, password: password,
		waiting: make(map[transactionID]turnWaiter), kick: make(chan struct{}),
	}
}

// attrReplaces is the port of a relayed address that this node has lost by moving,
// to be had again where the server gives it. It is from the range that servers
// that do not know it ignore (RFC 8489 section 14).
const attrReplaces = stun.AttrType(0xC0E1)

// allocate makes an allocation of an address family (RFC 8656 section 7.1) and
// returns its relayed address; old is that of the one before, zero for none.
func (c *turnClient) allocate(ctx context.Context, ipv4 bool, old netip.AddrPort) (netip.AddrPort, error) {
	attrs := []stun.Setter{attribute(stun.AttrRequestedTransport, 17, 0, 0, 0)} // UDP
	switch {
	case !ipv4:
		attrs = append(attrs, attribute(stun.AttrRequestedAddressFamily, 2, 0, 0, 0))
	case !c.server.Addr().Is4(): // the default, but some take the connection's
		attrs = append(attrs, attribute(stun.AttrRequestedAddressFamily, 1, 0, 0, 0))
	}
	if port := old.Port(); port != 0 {
		attrs = append(attrs, attribute(attrReplaces, byte(port>>8), byte(port)))
	}
	m, err := c.do(ctx, stun.MethodAllocate, attrs...)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr, err := addressOf(m, stun.AttrXORRelayedAddress)
	if err == nil && (addr.Addr().IsUnspecified() || addr.Port() == 0) {
		_ = c.release(ctx) // of no use to anybody
		return netip.AddrPort{}, errNoFamily
	}
	return addr, err
}

// refresh prolongs the allocation by the server's default (RFC 8656 section 7.2).
func (c *turnClient) refresh(ctx context.Context) error {
	_, err := c.do(ctx, stun.MethodRefresh)
	return err
}

// release gives up the allocation that the server holds for our address; the
// server allows it to the same user only.
func (c *turnClient) release(ctx context.Context) error {
	_, err := c.do(ctx, stun.MethodRefresh, noLifetime)
	return err
}

// releaseBlindly is release without waiting for an answer.
func (c *turnClient) releaseBlindly() {
	if m, _, err := c.build(stun.MethodRefresh, noLifetime); err == nil {
		_ = c.socket.SendTo(m.Raw, zeroAddr, c.server)
	}
}

var noLifetime = attribute(stun.AttrLifetime, 0, 0, 0, 0)

// bind binds the channel to the peer's address, or prolongs that, for 10
// minutes. It also permits the address to send for 5 (RFC 8656 section 12).
func (c *turnClient) bind(ctx context.Context, number uint16, to netip.AddrPort) error {
	_, err := c.do(ctx, stun.MethodChannelBind,
		attribute(stun.AttrChannelNumber, byte(number>>8), byte(number), 0, 0), peerAddress(to))
	return err
}

// indicate sends a Send indication (RFC 8656 section 11.1).
func (c *turnClient) indicate(b []byte, to netip.AddrPort) error {
	m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
		peerAddress(to), attribute(stun.AttrData, b...))
	if err != nil {
		return fmt.Errorf("send indication: %w", err)
	}
	return c.socket.SendTo(m.Raw, zeroAddr, c.server)
}

// resume takes the server's challenge from an earlier client of it, which saves a
// round trip.
func (c *turnClient) resume(from *turnClient) {
	from.mu.Lock()
	realm, nonce := from.realm, from.nonce
	from.mu.Unlock()
	if realm == nil || c.username == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.realm, c.nonce = realm, nonce
	c.key = stun.NewLongTermIntegrity(c.username, realm.String(), c.password)
}

// do makes a request until the server takes or refuses it, which is a
// *stun.TurnError.
func (c *turnClient) do(ctx context.Context, method stun.Method, attrs ...stun.Setter) (*stun.Message, error) {
	var err error
	for range turnTries {
		var m, answer *stun.Message
		var key stun.MessageIntegrity
		if m, key, err = c.build(method, attrs...); err != nil {
			return nil, fmt.Errorf("%v: %w", method, err)
		}
		if answer, err = c.transact(ctx, m, key); err != nil {
			return nil, fmt.Errorf("%v: %w", method, err)
		}
		if answer.Type.Class == stun.ClassSuccessResponse {
			return answer, nil
		}
		refusal := &stun.TurnError{StunMessageType: answer.Type}
		_ = refusal.ErrorCodeAttr.GetFrom(answer) // without one it is a refusal as well
		err = refusal
		if again, cause := c.challenged(answer, refusal.ErrorCodeAttr.Code, key != nil); cause != nil {
			return nil, fmt.Errorf("%v: %w", method, cause)
		} else if !again {
			return nil, err
		}
	}
	return nil, err
}

// build makes a request, signed if the server has asked for that.
func (c *turnClient) build(method stun.Method, attrs ...stun.Setter) (*stun.Message, stun.MessageIntegrity, error) {
	c.mu.Lock()
	realm, nonce, key := c.realm, c.nonce, c.key
	c.mu.Unlock()
	all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
	if key != nil {
		all = append(all, stun.NewUsername(c.username), realm, nonce, key)
	}
	m, err := stun.Build(append(all, stun.Fingerprint)...)
	return m, key, err
}

// challenged takes the realm and nonce of an error that asks for others, and
// says whether to try again.
func (c *turnClient) challenged(m *stun.Message, code stun.ErrorCode, signed bool) (again bool, err error) {
	if !(code == stun.CodeUnauthorized && !signed || code == stun.CodeStaleNonce) {
		return false, nil
	}
	if c.username == "" {
		return false, errNoCredentials
	}
	var realm stun.Realm
	var nonce stun.Nonce
	if m.Parse(&realm, &nonce) != nil {
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.realm, c.nonce = append(stun.Realm(nil), realm...), append(stun.Nonce(nil), nonce...)
	c.key = stun.NewLongTermIntegrity(c.username, c.realm.String(), c.password)
	return true, nil
}

// transact sends m until its answer comes.
func (c *turnClient) transact(ctx context.Context, m *stun.Message, key stun.MessageIntegrity) (*stun.Message, error) {
	w := turnWaiter{make(chan *stun.Message, 1), key}
	c.mu.Lock()
	c.waiting[m.TransactionID] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, m.TransactionID)
	}()
	answer, ok := retransmit(ctx, w.answer, probeMaxRTO, c.kicked, func(int) {
		// An error may be a moment without a route: it is sent again anyway.
		_ = c.socket.SendTo(m.Raw, zeroAddr, c.server)
	})
	switch {
	case ok:
		return answer, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, errTURNSilent
}

// hurry has all requests that wait for an answer sent again now: the server has
// come back.
func (c *turnClient) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.kick)
	c.kick = make(chan struct{})
}

// kicked is closed by the next hurry.
func (c *turnClient) kicked() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kick
}

// handle takes a response, and reports false when it answers nothing or is not
// authentic. It does not keep b.
func (c *turnClient) handle(b []byte) bool {
	c.mu.Lock()
	w, ok := c.waiting[stunTransaction(b)]
	c.mu.Unlock()
	m := &stun.Message{Raw: append([]byte(nil), b...)}
	if !ok || m.Decode() != nil {
		return false
	}
	if m.Type.Class == stun.ClassSuccessResponse && w.key != nil && w.key.Check(m) != nil {
		return false
	}
	select {
	case w.answer <- m:
	default: // answered already
	}
	return true
}

// A request is sent probeSends times, after probeRTO and then doubling up to
// probeMaxRTO (RFC 8489 section 6.2.1, with a shorter first wait, and no long
// ones: the server's return is not to be missed).
const (
	probeRTO    = 250 * time.Millisecond
	probeMaxRTO = time.Second
	probeSends  = 9
)

// retransmit calls send until an answer comes, the tries are used up, or ctx
// ends; the latter two are false. It waits longest at most between two, and not
// when kicked is closed.
func retransmit[T any](ctx context.Context, answer <-chan T, longest time.Duration, kicked func() <-chan struct{}, send func(try int)) (v T, ok bool) {
	wait := probeRTO
	for try := range probeSends {
		kick := kicked()
		send(try)
		t := time.NewTimer(wait)
		select {
		case <-kick:
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			return v, false
		case v = <-answer:
			t.Stop()
			return v, true
		case <-t.C:
		}
		wait = min(2*wait, longest)
	}
	return v, false
}

func attribute(t stun.AttrType, value ...byte) stun.RawAttribute {
	return stun.RawAttribute{Type: t, Value: value}
}

// peerAddress is the XOR-PEER-ADDRESS attribute (RFC 8656 section 18.3).
type peerAddress netip.AddrPort

// AddTo implements stun.Setter.
func (a peerAddress) AddTo(m *stun.Message) error {
	addr := netip.AddrPort(a)
	return stun.XORMappedAddress{IP: addr.Addr().AsSlice(), Port: int(addr.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

// addressOf reads an attribute that is a XOR-ed address.
func addressOf(m *stun.Message, t stun.AttrType) (netip.AddrPort, error) {
	var a stun.XORMappedAddress
	if err := a.GetFromAs(m, t); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%v: %w", t, err)
	}
	ip, _ := netip.AddrFromSlice(a.IP)
	return canonical(netip.AddrPortFrom(ip, uint16(a.Port))), nil
}

// ChannelData (RFC 8656 section 12.4) is the channel's number and the length of
// what follows, 2 bytes each, and the data. Over UDP it may be padded or not.
const channelHeader = 4

// splitChannelData takes ChannelData apart; ok is false for what is none.
func splitChannelData(b []byte) (number uint16, data []byte, ok bool) {
	if !isChannelData(b) {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b)-channelHeader {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[channelHeader : channelHeader+n], true
}

// splitIndication takes a Data indication (RFC 8656 section 11.4) apart. What it
// returns is part of b.
func splitIndication(b []byte) (from netip.AddrPort, data []byte, ok bool) {
	m := stun.Message{Raw: b}
	if m.Decode() != nil {
		return netip.AddrPort{}, nil, false
	}
	from, err := addressOf(&m, stun.AttrXORPeerAddress)
	if err != nil {
		return netip.AddrPort{}, nil, false
	}
	data, err = m.Get(stun.AttrData)
	return from, data, err == nil
}
