package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
)

// turnLogin is what a server wants to see.
type turnLogin struct{ username, password string }

// turnClient is an allocation with a channel, and nothing that reads its socket:
// the loads do.
type turnClient struct {
	conn    *net.UDPConn
	login   turnLogin
	nonce   stun.Nonce
	realm   stun.Realm
	relayed netip.AddrPort
}

const (
	turnChannel = 0x4000
	turnPort    = 3478

	// requestTries are made, requestTime after each other: a server may not be
	// there yet.
	requestTries = 40
	requestTime  = 100 * time.Millisecond
)

// newTURNClient allocates on a server (RFC 8656 section 7) and binds a channel
// to a peer (section 12). Its socket stays open as long as the stage, as does
// the allocation: no other gets its port.
func (s *stage) newTURNClient(server netip.AddrPort, login turnLogin, to netip.AddrPort) (*turnClient, error) {
	conn, err := dialUDP(s.a, server)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, conn)
	c := &turnClient{conn: conn, login: login}
	return c, c.open(to)
}

func (c *turnClient) open(to netip.AddrPort) error {
	answer, err := c.ask(stun.MethodAllocate, stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}})
	if err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	var relayed stun.XORMappedAddress
	if err := relayed.GetFromAs(answer, stun.AttrXORRelayedAddress); err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	addr, _ := netip.AddrFromSlice(relayed.IP)
	c.relayed = netip.AddrPortFrom(addr.Unmap(), uint16(relayed.Port))
	channel := binary.BigEndian.AppendUint16(nil, turnChannel)
	_, err = c.ask(stun.MethodChannelBind, stun.RawAttribute{Type: stun.AttrChannelNumber, Value: append(channel, 0, 0)}, peerAddress(to))
	if err != nil {
		return fmt.Errorf("bind a channel to %v: %w", to, err)
	}
	return nil
}

// peerAddress is an XOR-PEER-ADDRESS.
type peerAddress netip.AddrPort

func (a peerAddress) AddTo(m *stun.Message) error {
	ap := netip.AddrPort(a)
	return stun.XORMappedAddress{IP: ap.Addr().AsSlice(), Port: int(ap.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

// ask makes a request, with credentials once the server has told its realm and
// nonce (RFC 8489 section 9.2).
func (c *turnClient) ask(method stun.Method, attrs ...stun.Setter) (*stun.Message, error) {
	for {
		setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
		known := c.nonce != nil
		if known {
			setters = append(setters, stun.NewUsername(c.login.username), c.realm, c.nonce,
				stun.NewLongTermIntegrity(c.login.username, c.realm.String(), c.login.password))
		}
		m, err := stun.Build(setters...)
		if err != nil {
			return nil, err
		}
		answer, err := c.transact(m)
		if err != nil || answer.Type.Class == stun.ClassSuccessResponse {
			return answer, err
		}
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(answer); err != nil {
			return nil, err
		}
		if known || code.Code != stun.CodeUnauthorized {
			return nil, fmt.Errorf("refused: %v", code)
		}
		if err := errors.Join(c.nonce.GetFrom(answer), c.realm.GetFrom(answer)); err != nil {
			return nil, err
		}
	}
}

// transact sends a request, always the same one, until it has an answer.
func (c *turnClient) transact(m *stun.Message) (*stun.Message, error) {
	for range requestTries {
		if answer := c.try(m); answer != nil {
			return answer, nil
		}
	}
	return nil, errors.New("no answer")
}

// try sends a request once; nil if no answer comes in time.
func (c *turnClient) try(m *stun.Message) *stun.Message {
	defer c.conn.SetReadDeadline(time.Time{})
	c.conn.SetReadDeadline(time.Now().Add(requestTime))
	if _, err := c.conn.Write(m.Raw); err != nil {
		time.Sleep(requestTime / 10) // likewise, as an earlier one was told
		return nil
	}
	buf := make([]byte, 1500)
	for {
		n, err := c.conn.Read(buf)
		if err != nil {
			time.Sleep(requestTime / 10) // it may be that nobody listens yet
			return nil
		}
		answer := &stun.Message{Raw: buf[:n]}
		if answer.Decode() == nil && answer.TransactionID == m.TransactionID {
			return answer
		}
	}
}
