package e2e

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// Member is a member's connection to a hub, and what the hub lent it for the
// relay. It has said hello and read its greeting, and does nothing more. Close
// it.
type Member struct {
	*websocket.Conn
	Credentials signaling.Credentials
}

// ConnectMember connects a new member of a network, of which the caller has
// the key. dial opens the TCP connection. Members have different numbers.
func ConnectMember(ctx context.Context, link config.HubLink, network config.NetworkPrivateKey, number int,
	dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*Member, error) {
	dialer := websocket.Dialer{
		Subprotocols: []string{signaling.Subprotocol}, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		NetDialContext: dial,
	}
	ws, _, err := dialer.DialContext(ctx, link.URLs[0]+signaling.Path, nil)
	if err != nil {
		return nil, err
	}
	m := &Member{Conn: ws}
	if err := m.greet(link, network, number); err != nil {
		ws.Close()
		return nil, err
	}
	return m, nil
}

// greet says hello and reads until the credentials, the last of the greeting.
func (m *Member) greet(link config.HubLink, network config.NetworkPrivateKey, number int) error {
	var challenge signaling.Challenge
	if err := m.ReadJSON(&challenge); err != nil {
		return err
	}
	hello, err := m.hello(&challenge, link, network, number)
	if err != nil {
		return err
	}
	if err := m.WriteMessage(websocket.TextMessage, hello); err != nil {
		return err
	}
	for {
		_, b, err := m.ReadMessage()
		if err != nil {
			return err
		}
		var frame struct{ Type string }
		if err := json.Unmarshal(b, &frame); err != nil {
			return err
		}
		switch frame.Type {
		case "credentials":
			return json.Unmarshal(b, &m.Credentials)
		case "error":
			return fmt.Errorf("refused: %s", b)
		}
	}
}

func (m *Member) hello(challenge *signaling.Challenge, link config.HubLink, network config.NetworkPrivateKey, number int) ([]byte, error) {
	node := config.NewNodeKey()
	r := signaling.Record{Node: node.Public(), Sequence: 1, Name: "node", IPv4: netip.AddrFrom4([4]byte{10, 70, byte(number >> 8), byte(number)})}
	rand.Read(r.WireGuard[:])
	rand.Read(r.Sealing[:])
	record, err := signaling.NetworkAdmin(network).Record(r)
	if err != nil {
		return nil, err
	}
	exporter, err := signaling.Exporter(m.NetConn())
	if err != nil {
		return nil, err
	}
	shake := signaling.Handshake{
		HubNonce: challenge.Nonce, NodeNonce: make([]byte, signaling.NonceSize), Hub: challenge.Hub,
		Network: network.Public(), Node: node.Public(), TLSExporter: exporter,
	}
	rand.Read(shake.NodeNonce)
	return signaling.Encode(&signaling.Hello{
		Network: shake.Network, Node: shake.Node, Nonce: shake.NodeNonce, Signature: shake.SignHello(node),
		Epoch: 1, Presence: signaling.SignPresence(node, shake.Network.ID(), 1),
		Proof: [][]byte{record.Bytes()}, Access: shake.AccessProof(link.Access[:]),
	})
}
