package signaling

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
)

func (c *Client) dial(ctx context.Context, url string) (*websocket.Conn, error) {
	d := websocket.Dialer{
		NetDialContext: c.netDial, HandshakeTimeout: dialTimeout, Subprotocols: []string{Subprotocol},
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
	}
	conn, resp, err := d.DialContext(ctx, url+Path, nil)
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil:
		return nil, fmt.Errorf("%s answered %q: it is no p2ptun hub, or a proxy stands before it", url, resp.Status)
	case err != nil:
		return nil, fmt.Errorf("cannot reach the hub at %s: %w", url, err)
	case conn.Subprotocol() != Subprotocol:
		conn.Close()
		return nil, fmt.Errorf("%s does not speak %s", url, Subprotocol)
	}
	return conn, nil
}

// handshake proves both ends to each other.
func (c *Client) handshake(conn *websocket.Conn, hub config.HubKey) (*Welcome, error) {
	challenge, err := expect[*Challenge](conn)
	if err != nil {
		return nil, err
	}
	if len(challenge.Nonce) != NonceSize {
		return nil, fmt.Errorf("handshake with the hub: a nonce of %d bytes", len(challenge.Nonce))
	}
	if challenge.Hub != hub {
		return nil, fmt.Errorf("the hub says it is %v, not %v: its state was lost or another hub took its address", challenge.Hub, hub)
	}
	nonce := make([]byte, NonceSize)
	rand.Read(nonce)
	h := Handshake{HubNonce: challenge.Nonce, NodeNonce: nonce, Hub: challenge.Hub, Network: c.cfg.Network, Node: c.cfg.Self.Node.Public()}
	cred := c.cfg.Credential()
	hello := &Hello{
		Network: h.Network, Node: h.Node, Nonce: nonce, Signature: h.SignHello(c.cfg.Self.Node),
		Epoch: c.cfg.Self.Epoch, Presence: c.presence,
		Proof: cred.Proof, Ticket: cred.Ticket, Since: cred.Since,
	}
	if len(cred.Access) > 0 {
		hello.Access = h.AccessProof(cred.Access)
	}
	frame, err := Encode(hello)
	if err != nil {
		return nil, err
	}
	if err := writeFrame(conn, frame); err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	welcome, err := expect[*Welcome](conn)
	if err != nil {
		return nil, err
	}
	if !h.VerifyWelcome(welcome.Signature) {
		return nil, fmt.Errorf("the hub's welcome: %w", ErrSignature)
	}
	return welcome, nil
}

// expect reads the next frame of a known type, which must be a T; the hub may
// refuse instead.
func expect[T Message](conn *websocket.Conn) (T, error) {
	var zero T
	for {
		m, err := read(conn)
		if err != nil {
			return zero, fmt.Errorf("handshake with the hub: %w", err)
		}
		switch m := m.(type) {
		case nil:
			continue
		case T:
			return m, nil
		case *Error:
			return zero, m
		}
		return zero, fmt.Errorf("handshake with the hub: got %s, want %s", m.frameType(), zero.frameType())
	}
}

func read(conn *websocket.Conn) (Message, error) {
	_, r, err := conn.NextReader()
	if err != nil {
		return nil, err
	}
	frame, err := io.ReadAll(r) // SetReadLimit bounds it
	if err != nil {
		return nil, err
	}
	return Decode(frame)
}
