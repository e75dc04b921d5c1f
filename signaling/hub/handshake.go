package hub

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// maxHello is above any hello, with its proof of signaling.MaxProof statements,
// in bytes. A stranger makes the hub hold no more.
const maxHello = 24 << 10

// handshake proves who the node is and what it may do. It returns a refusal
// for one to be told, another error when the socket broke.
func (c *conn) handshake() error {
	c.ws.SetReadLimit(maxHello)
	c.ws.SetReadDeadline(time.Now().Add(c.hub.timing.hello))
	hub := c.hub.identity.Public()
	exporter, err := signaling.Exporter(c.ws.NetConn())
	if err != nil {
		return err
	}
	nonce, frame, err := c.readHello(hub, exporter != nil)
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
	c.ws.SetReadLimit(signaling.MaxFrame)
	return c.ws.SetReadDeadline(time.Now().Add(c.hub.timing.dead))
}

// readHello returns the hello, and the hub's nonce that it covers. One that came with
// the request counts where TLS is the hub's own.
func (c *conn) readHello(hub config.HubKey, tls bool) (nonce, frame []byte, err error) {
	early := c.early
	c.early = ""
	if early != "" && tls {
		nonce, err = signaling.EarlyNonce(c.ws.NetConn())
		return nonce, []byte(early), err
	}
	nonce = make([]byte, signaling.NonceSize)
	rand.Read(nonce)
	if err := c.writeFrame(&signaling.Challenge{Nonce: nonce, Hub: hub, TLS: tls}); err != nil {
		return nil, nil, err
	}
	_, frame, err = c.ws.ReadMessage()
	return nonce, frame, err
}

func (c *conn) authorize(hello *signaling.Hello) error {
	switch {
	case len(hello.Proof) > 0:
		return c.authorizeMember(hello)
	case len(hello.Ticket) > 0:
		return c.authorizeJoiner(hello.Ticket)
	}
	return refuse(signaling.CodeUnauthorized, "neither a member record nor a ticket")
}

func (c *conn) authorizeMember(hello *signaling.Hello) error {
	if err := c.checkProof(hello); err != nil {
		return err
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
	c.roster, c.unuse = c.hub.rosters.use(hello.Network)
	if _, err := c.publish(hello.Proof); err != nil {
		return err
	}
	var rec *signaling.SignedRecord
	var revoked bool
	if err := c.roster.look(func(r *signaling.Roster) {
		rec, _ = r.Record(hello.Node)
		revoked = r.IsRevoked(hello.Node)
	}); err != nil {
		return err
	}
	switch {
	case revoked:
		return c.revocation(hello.Node)
	case rec == nil:
		return refuse(signaling.CodeUnauthorized, "no admin of the network vouches for this machine")
	case !rec.Live(time.Now()):
		return refuse(signaling.CodeUnauthorized, "the membership has expired")
	}
	c.expires = rec.Expires
	c.member.Store(true)
	return nil
}

// checkProof refuses a proof that is not the node's, before anything is made
// for its network: a record that the network's key has signed, or a delegate
// of it.
func (c *conn) checkProof(hello *signaling.Hello) error {
	if len(hello.Proof) > signaling.MaxProof {
		return refuse(signaling.CodeProtocol, "the proof of membership is too long")
	}
	proof := signaling.NewRoster(hello.Network)
	change := proof.Merge(hello.Proof...)
	if _, ok := proof.Record(hello.Node); !ok || change.Err != nil {
		return refuse(signaling.CodeUnauthorized, "the proof of membership is not valid")
	}
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
		return c.serveJoiner(t.Keeper)
	case signaling.TicketUsed:
		return refuse(signaling.CodeUsed, "the invite was used")
	case signaling.TicketExpired:
		return refuse(signaling.CodeExpired, "the invite has expired")
	case signaling.TicketRevoked:
		return refuse(signaling.CodeRevoked, "the invite was revoked")
	}
	return refuse(signaling.CodeTicket, "the invite is not open")
}

// serveJoiner lets a joiner ask its keeper, if that one may admit still.
func (c *conn) serveJoiner(keeper config.NodeKey) error {
	c.roster, c.unuse = c.hub.rosters.use(c.network())
	c.keeper = keeper
	var revoked bool
	if err := c.roster.look(func(r *signaling.Roster) { revoked = r.IsRevoked(keeper) }); err != nil {
		return err
	}
	if revoked {
		return refuse(signaling.CodeRevoked, "the invite was revoked, with the machine that kept it")
	}
	return nil
}
