package hub

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

// handshake proves who the node is and what it may do. It returns a refusal
// for one to be told, another error when the socket broke.
func (c *conn) handshake() error {
	c.ws.SetReadLimit(signaling.MaxFrame)
	c.ws.SetReadDeadline(time.Now().Add(c.hub.timing.hello))
	nonce := make([]byte, signaling.NonceSize)
	rand.Read(nonce)
	hub := c.hub.identity.Public()
	exporter, err := signaling.Exporter(c.ws.NetConn())
	if err != nil {
		return err
	}
	if err := c.writeFrame(&signaling.Challenge{Nonce: nonce, Hub: hub, TLS: exporter != nil}); err != nil {
		return err
	}
	_, frame, err := c.ws.ReadMessage()
	if err != nil {
		return err
	}
	m, err := signaling.Decode(frame)
	hello, ok := m.(*signaling.Hello)
	if err != nil || !ok {
		return refuse(signaling.CodeProtocol, "want a hello")
	}
	c.shake = signaling.Handshake{HubNonce: nonce, NodeNonce: hello.Nonce, Hub: hub, Network: hello.Network, Node: hello.Node, TLSExporter: exporter}
	c.online = signaling.Online{Node: hello.Node, Epoch: hello.Epoch, Signature: hello.Presence}
	c.since = hello.Since
	if !c.shake.VerifyHello(hello.Signature) || !c.online.Verify(hello.Network.ID()) {
		return refuse(signaling.CodeUnauthorized, "the hello's signature is not valid for this connection: something may stand between")
	}
	if err := c.authorize(hello); err != nil {
		return c.asRefusal(err)
	}
	return c.ws.SetReadDeadline(time.Now().Add(c.hub.timing.dead))
}

func (c *conn) authorize(hello *signaling.Hello) error {
	switch {
	case len(hello.Record) > 0:
		return c.authorizeMember(hello)
	case len(hello.Ticket) > 0:
		return c.authorizeJoiner(hello.Ticket)
	}
	return refuse(signaling.CodeUnauthorized, "neither a member record nor a ticket")
}

func (c *conn) authorizeMember(hello *signaling.Hello) error {
	rec, err := signaling.ParseRecord(hello.Network, hello.Record)
	switch {
	case err != nil:
		return refuse(signaling.CodeUnauthorized, "%v", err)
	case rec.Node != hello.Node:
		return refuse(signaling.CodeUnauthorized, "the member record is another node's")
	}
	known, err := c.hub.store.Known(hello.Network)
	if err != nil {
		return err
	}
	if !known {
		if err := c.createNetwork(hello.Access); err != nil {
			return err
		}
	}
	current, err := c.hub.publish(hello.Network, []*signaling.SignedRecord{rec})
	if err != nil {
		return err
	}
	if !current[0].Live(time.Now()) {
		return refuse(signaling.CodeUnauthorized, "the membership has expired")
	}
	c.member.Store(true)
	return nil
}

// createNetwork takes a new network from a node that holds the hub link.
func (c *conn) createNetwork(proof []byte) error {
	switch {
	case len(proof) == 0:
		return refuse(signaling.CodeNetwork, "this hub does not know the network, and no access key was shown")
	case !c.proves(proof):
		return refuse(signaling.CodeNetwork, "the access key is not this hub's")
	}
	if err := c.hub.store.Create(c.network()); err != nil {
		return err
	}
	c.log.Info("network created", "network", c.network().String(), "peer", c.node().String())
	return nil
}

// proves says whether the proof is by the hub's access key of now.
func (c *conn) proves(proof []byte) bool {
	access := c.hub.Link().Access
	return hmac.Equal(proof, c.shake.AccessProof(access[:]))
}

func (c *conn) authorizeJoiner(ticket []byte) error {
	hash := sha256.Sum256(ticket)
	t, found, err := c.hub.ticket(c.network(), hash[:])
	if err != nil {
		return err
	}
	if !found {
		return refuse(signaling.CodeTicket, "this hub knows no such invite")
	}
	switch t.State {
	case signaling.TicketOpen:
		c.keeper = t.Keeper
		return nil
	case signaling.TicketUsed:
		return refuse(signaling.CodeUsed, "the invite was used")
	case signaling.TicketExpired:
		return refuse(signaling.CodeExpired, "the invite has expired")
	case signaling.TicketRevoked:
		return refuse(signaling.CodeRevoked, "the invite was revoked")
	}
	return refuse(signaling.CodeTicket, "the invite is not open")
}
