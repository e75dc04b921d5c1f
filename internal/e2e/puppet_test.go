package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/signaling"
)

// puppet is a member that does what a test wants: it was admitted like any
// other and has its own keys, but no tunnel and no ICE agent. It answers offers
// with the candidates that it is given.
type puppet struct {
	t       *testing.T
	ctx     context.Context
	self    *signaling.Self
	wg      config.WireGuardPrivateKey
	invite  config.Invite
	ws      *websocket.Conn
	writing sync.Mutex // guards writes to ws
	joiner  *signaling.Joiner
	name    string
	record  *signaling.SignedRecord
	answers []string      // candidates to answer and offer with
	ticket  func() []byte // to show the hub
	request func(keeper config.SealingKey) []byte

	mu      sync.Mutex // guards what follows
	roster  *signaling.Roster
	proof   [][]byte
	pairs   map[config.NodeKey]*signaling.Pair
	session map[config.NodeKey]bool
	refused []signaling.ErrorCode
	changed chan struct{}
}

// newPuppet has a machine of that name on a host join; tune, if any, changes it
// before.
func newPuppet(t *testing.T, ctx context.Context, host *natlab.Host, token, name string, tune ...func(*puppet)) *puppet {
	t.Helper()
	invite, err := config.ParseInvite(token)
	if err != nil {
		t.Fatal(err)
	}
	p := &puppet{
		t: t, ctx: ctx, invite: invite, name: name, wg: config.NewWireGuardKey(),
		roster: signaling.NewRoster(invite.Network), pairs: make(map[config.NodeKey]*signaling.Pair),
		session: make(map[config.NodeKey]bool), changed: make(chan struct{}),
	}
	p.self = &signaling.Self{
		Network: invite.Network.ID(), Node: config.NewNodeKey(), Sealing: config.NewSealingKey(), WireGuard: p.wg.Public(), Epoch: signaling.NewEpoch(1),
	}
	p.ticket = func() []byte { return signaling.NewInviteKeys(p.self.Network, invite.Secret).Ticket() }
	for _, f := range tune {
		f(p)
	}
	p.joiner = signaling.NewJoiner(p.self, p.wg, p.invite)
	if p.request == nil {
		p.request = func(to config.SealingKey) []byte { return must(p.joiner.Request(to, name)) }
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(ctx, host)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

// run connects to the hub, and again if that does not know the invite yet, and
// serves the connection to its end.
func (p *puppet) run(ctx context.Context, host *natlab.Host) {
	for again := true; again && ctx.Err() == nil; {
		ws, err := dialHub(ctx, host, p.invite.Hub.URLs[0])
		if err != nil {
			return // the end, or wait will tell
		}
		stop := context.AfterFunc(ctx, func() { ws.Close() })
		p.ws, again = ws, false
		for {
			_, frame, err := ws.ReadMessage()
			if err != nil {
				break
			}
			m, err := signaling.Decode(frame)
			if e, ok := m.(*signaling.Error); ok && e.Code == signaling.CodeTicket {
				again = true
			} else if err == nil && m != nil {
				p.handle(m)
			}
		}
		stop()
		ws.Close()
	}
}

// send sends a frame to the hub.
func (p *puppet) send(m signaling.Message) {
	frame := must(signaling.Encode(m))
	p.writing.Lock()
	defer p.writing.Unlock()
	p.ws.WriteMessage(websocket.TextMessage, frame)
}

// hello shows the ticket.
func (p *puppet) hello(c *signaling.Challenge) {
	h := signaling.Handshake{HubNonce: c.Nonce, NodeNonce: nonce(), Hub: c.Hub, Network: p.invite.Network, Node: p.key()}
	p.send(&signaling.Hello{
		Network: h.Network, Node: h.Node, Nonce: h.NodeNonce, Signature: h.SignHello(p.self.Node),
		Epoch: p.self.Epoch, Presence: signaling.SignPresence(p.self.Node, p.self.Network, p.self.Epoch),
		Ticket: p.ticket(),
	})
}

func (p *puppet) key() config.NodeKey { return p.self.Node.Public() }

func (p *puppet) handle(m signaling.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m := m.(type) {
	case *signaling.Challenge:
		p.hello(m)
	case *signaling.Members:
		p.roster.Merge(m.Statements...)
		if rec, err := p.keeper(m.Statements); err == nil && p.proof == nil {
			p.send(&signaling.Join{To: rec.Node, Sealed: p.request(rec.Sealing)})
		}
	case *signaling.Join:
		if a, err := p.joiner.Answer(m.Sealed); err == nil && a.Refusal == "" {
			p.roster.Merge(a.Statements...)
			p.proof = p.roster.Proof(p.key())
			p.record, _ = p.roster.Record(p.key())
			p.send(&signaling.Join{To: m.From, Sealed: p.joiner.Ack()})
		} else if err == nil {
			p.refused = append(p.refused, a.Refusal)
		}
	case *signaling.Presence:
		for _, o := range m.Online {
			p.meetLocked(o)
		}
	case *signaling.Signal:
		p.openLocked(m)
	case *signaling.Error:
		p.refused = append(p.refused, m.Code)
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// member says whether the keeper has let it in.
func (p *puppet) member() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proof != nil
}

// keeper finds the record of the invite's.
func (p *puppet) keeper(statements [][]byte) (*signaling.SignedRecord, error) {
	for _, raw := range statements {
		if rec, err := signaling.ParseRecord(p.invite.Network, raw); err == nil && rec.Node == p.invite.Keeper {
			return rec, nil
		}
	}
	return nil, errors.New("it is not among them")
}

// meetLocked begins to talk to a member that is online.
func (p *puppet) meetLocked(o signaling.Online) {
	rec, ok := p.roster.Get(o.Node)
	if !ok || p.pairs[o.Node] != nil {
		return
	}
	pair := signaling.NewPair(p.self, &rec.Record)
	pair.SetRemoteEpoch(o.Epoch)
	p.pairs[o.Node] = pair
}

func (p *puppet) openLocked(m *signaling.Signal) {
	pair := p.pairs[m.From]
	if pair == nil {
		return
	}
	ev, _ := pair.Open(m.Sealed)
	if ev.Kind == signaling.EventOffer {
		if msg, _, err := pair.Answer(p.description()); err == nil {
			ev.Reply = msg
			p.session[m.From] = true
		}
	}
	if ev.Kind == signaling.EventAnswer {
		p.session[m.From] = true
	}
	if ev.Reply != nil {
		p.send(&signaling.Signal{To: m.From, Sealed: ev.Reply})
	}
}

func (p *puppet) description() []byte {
	b, _ := json.Marshal(map[string]any{"ufrag": "puppet", "pwd": "0123456789012345678901", "candidates": p.answers, "end": true})
	return b
}

// wait returns when cond, which is called with the mutex held, is true.
func (p *puppet) wait(what string, cond func() bool) {
	p.t.Helper()
	for {
		p.mu.Lock()
		ok, changed := cond(), p.changed
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			p.t.Fatalf("puppet %s: %s: too long", p.name, what)
		case <-p.ctx.Done():
			p.t.Fatalf("puppet %s: %s: %v", p.name, what, p.ctx.Err())
		}
	}
}

// joined waits until the puppet is a member, and has a session with each.
func (p *puppet) joined(with ...config.NodeKey) *puppet {
	p.t.Helper()
	for _, node := range with {
		p.wait(fmt.Sprint("a session with ", node), func() bool { return p.session[node] })
	}
	return p
}

// seal seals a message of the session with a member.
func (p *puppet) seal(to config.NodeKey, content any) *signaling.Signal {
	p.t.Helper()
	b, err := json.Marshal(content)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	sealed, err := p.pairs[to].Seal(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return &signaling.Signal{From: p.key(), To: to, Sealed: sealed}
}

// note tells a member something, as gossip.
func (p *puppet) note(to config.NodeKey, note []byte) *signaling.Signal {
	return p.seal(to, map[string]any{"type": "note", "note": note})
}

// offer makes an offer to a member.
func (p *puppet) offer(to config.NodeKey) *signaling.Signal {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	sealed, err := p.pairs[to].Offer(p.description())
	if err != nil {
		p.t.Fatal(err)
	}
	return &signaling.Signal{From: p.key(), To: to, Sealed: sealed}
}
