package hub

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/stun/v4"
)

// rawTURN is a TURN client that sends what no decent one does.
type rawTURN struct {
	t     testing.TB
	conn  *net.UDPConn
	cred  *signaling.Credentials
	nonce stun.Nonce
}

func newRawTURN(t testing.TB, server netip.AddrPort, from string, cred *signaling.Credentials) *rawTURN {
	t.Helper()
	local := &net.UDPAddr{IP: net.ParseIP(from)}
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &rawTURN{t: t, conn: conn, cred: cred}
}

// setter makes an attribute from a function.
type setter func(*stun.Message) error

func (f setter) AddTo(m *stun.Message) error { return f(m) }

func attribute(kind stun.AttrType, value ...byte) stun.Setter {
	return setter(func(m *stun.Message) error {
		m.Add(kind, value)
		return nil
	})
}

// peerAddress is an XOR-PEER-ADDRESS of the family the address has, also where
// it is IPv4 in an IPv6 form.
func peerAddress(to netip.AddrPort) stun.Setter {
	return setter(func(m *stun.Message) error {
		v := []byte{0, 1, 0, 0}
		if to.Addr().Is6() {
			v[1] = 2
		}
		binary.BigEndian.PutUint16(v[2:], to.Port())
		v = append(v, to.Addr().AsSlice()...)
		mask := m.Raw[4:20] // magic cookie and transaction
		v[2], v[3] = v[2]^mask[0], v[3]^mask[1]
		for i := range v[4:] {
			v[4+i] ^= mask[i]
		}
		m.Add(stun.AttrXORPeerAddress, v)
		return nil
	})
}

func (c *rawTURN) send(m *stun.Message) {
	c.t.Helper()
	if _, err := c.conn.Write(m.Raw); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the next STUN message of the transaction, nil after a while.
func (c *rawTURN) read(of *stun.Message, patience time.Duration) *stun.Message {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		buf := make([]byte, 2000)
		n, err := c.conn.Read(buf)
		if err != nil {
			return nil
		}
		m := &stun.Message{Raw: buf[:n]}
		if m.Decode() == nil && m.TransactionID == of.TransactionID {
			return m
		}
	}
}

// ask makes an authenticated request and returns the answer.
func (c *rawTURN) ask(method stun.Method, attrs ...stun.Setter) *stun.Message {
	c.t.Helper()
	for range 2 {
		setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
		if c.nonce != nil {
			setters = append(setters, stun.NewUsername(c.cred.Username), stun.NewRealm(realm), c.nonce,
				stun.NewLongTermIntegrity(c.cred.Username, realm, c.cred.Password))
		}
		m := stun.MustBuild(setters...)
		c.send(m)
		answer := c.read(m, patience)
		if answer == nil {
			c.t.Fatalf("%v: no answer", method)
		}
		var nonce stun.Nonce
		if nonce.GetFrom(answer) != nil {
			return answer
		}
		c.nonce = nonce
	}
	c.t.Fatalf("%v: the credentials are not taken", method)
	return nil
}

// code is the error that the request gets, 0 if it succeeds.
func (c *rawTURN) code(method stun.Method, attrs ...stun.Setter) stun.ErrorCode {
	c.t.Helper()
	answer := c.ask(method, attrs...)
	if answer.Type.Class == stun.ClassSuccessResponse {
		return 0
	}
	var code stun.ErrorCodeAttribute
	if err := code.GetFrom(answer); err != nil {
		c.t.Fatalf("%v: an error without a code: %v", method, err)
	}
	return code.Code
}

// Values of REQUESTED-TRANSPORT and REQUESTED-ADDRESS-FAMILY.
var (
	overUDP  = attribute(stun.AttrRequestedTransport, 17, 0, 0, 0)
	overTCP  = attribute(stun.AttrRequestedTransport, 6, 0, 0, 0)
	wantIPv4 = attribute(stun.AttrRequestedAddressFamily, 1, 0, 0, 0)
	wantIPv6 = attribute(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)
)

func (c *rawTURN) allocate(attrs ...stun.Setter) *rawTURN {
	c.t.Helper()
	if code := c.code(stun.MethodAllocate, append(attrs, overUDP)...); code != 0 {
		c.t.Fatalf("allocate: error %d", code)
	}
	return c
}

func (c *rawTURN) permission(to netip.Addr) stun.ErrorCode {
	c.t.Helper()
	return c.code(stun.MethodCreatePermission, peerAddress(netip.AddrPortFrom(to, 0)))
}

func (c *rawTURN) bind(channel uint16, to netip.AddrPort) stun.ErrorCode {
	c.t.Helper()
	return c.code(stun.MethodChannelBind, attribute(stun.AttrChannelNumber, byte(channel>>8), byte(channel), 0, 0), peerAddress(to))
}

// indicate sends data in a Send indication, and returns when the hub has
// handled it.
func (c *rawTURN) indicate(data string, to netip.AddrPort) {
	c.t.Helper()
	c.send(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
		peerAddress(to), attribute(stun.AttrData, []byte(data)...)))
	c.settled()
}

// channelData sends n bytes on a channel.
func (c *rawTURN) channelData(channel uint16, n int) {
	c.t.Helper()
	b := binary.BigEndian.AppendUint16(nil, channel)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	if _, err := c.conn.Write(append(b, make([]byte, n)...)); err != nil {
		c.t.Fatal(err)
	}
}

// settled returns when the hub's one reader has handled all that was sent.
func (c *rawTURN) settled() {
	c.t.Helper()
	c.code(stun.MethodBinding)
}

// issue gives a member credentials without a WebSocket.
func issue(h *testHub, id identity) *signaling.Credentials { return h.credentials.issue(id) }
