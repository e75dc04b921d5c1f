package signaling

import (
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Self is what a node signs and seals with in one network, for one run.
type Self struct {
	Network   config.ID
	Node      config.NodePrivateKey
	Sealing   config.SealingPrivateKey
	WireGuard config.WireGuardKey
	Epoch     Epoch // this run's, not zero
}

// EventKind says what a sealed message meant.
type EventKind int

// The kinds of Event.
const (
	EventNone    EventKind = iota // nothing to do but send Reply, if there is one
	EventOffer                    // call Answer
	EventAnswer                   // the session of our offer stands
	EventMessage                  // a frame of the standing session
	EventStale                    // the peer runs under another epoch than our offer named: offer again
)

// Event is what opening a sealed message came to.
type Event struct {
	Kind    EventKind
	Content []byte
	Reply   []byte // send it back at once, by the way the message came

	// Newest says of EventMessage that the session is that of the last offer that
	// was answered, by either side.
	Newest bool

	// At is the sender's clock, of EventOffer and EventAnswer: signed, and no
	// better than the sender.
	At time.Time
	// Preshared is the session's key for the tunnel, of EventAnswer. The peer
	// has it.
	Preshared config.PresharedKey
}

// Pair is the sealed signaling between this node and one other: bytes in,
// bytes and an event out. It has no socket, and judges nothing by the clock: it
// tells the peer what it shows, and numbers its first session by it.
//
// A session is one offer and its answer; the newest replaces the one before when
// both have it.
// Of two offers that cross, the lower node key's stands:
//
//	        Offer                     answer opened
//	idle ────────────► offered ─────────────────────► session
//	 │                    │ the peer's offer (lower key)  ▲
//	 │ the peer's offer   ▼                    Answer     │
//	 └───────────────► received ──────────────────────────┘
//
// A Pair is not safe for concurrent use.
type Pair struct {
	self   *Self
	local  *end
	remote *end
	order  int // of our node key against the peer's

	remoteEpoch Epoch // the highest seen; zero: not known

	lastOffered  uint64 // session ID of our newest offer
	lastAccepted uint64 // the peer's highest session ID under remoteEpoch

	offered  *offered
	received *received
	answered *answered
	crossing [32]byte // the peer's last offer that ours stood against: its hash

	// Where an offer is answered, the session before stays in use until the
	// peer shows that it has the answer: it may have given up that offer long
	// ago, and the hub may have held it back until now. Where an answer came,
	// those before stay open until the peer uses the new one: which of them it
	// uses meanwhile, it alone knows.
	seals *frames   // the one to seal with
	opens []*frames // those that open, newest last: what seals is among them
}

// maxOpens bounds the sessions that are open, of which all but one were answered
// and never used.
const maxOpens = 4

type offered struct {
	session uint64
	msg     []byte
	fresh   hpke.PrivateKey
	secret  []byte
}

type received struct {
	seal   *seal
	msg    []byte
	fresh  hpke.PublicKey
	secret []byte
}

// answered keeps an answer for the case that the offer comes once more.
type answered struct {
	offer [32]byte
	msg   []byte
}

// IsOffer says whether a sealed message is an offer, which is dear to open: the
// caller limits how many it opens. Repeats of one that was answered are cheap.
func IsOffer(msg []byte) bool { return len(msg) > 0 && msg[0] == sealOffer }

// IsAnswer says whether a sealed message is an answer.
func IsAnswer(msg []byte) bool { return len(msg) > 0 && msg[0] == sealAnswer }

// IsFrame says whether a sealed message is one of a session, which is cheap to
// open.
func IsFrame(msg []byte) bool { return len(msg) > 0 && msg[0] == sealFrame }

var (
	errNoSession = errors.New("sealed message: no session yet")
	errOld       = errors.New("sealed message: of an earlier session or run")
)

// NewPair starts the signaling with a member. The record must be valid.
func NewPair(self *Self, remote *Record) *Pair {
	local := &end{node: self.Node.Public(), wireGuard: self.WireGuard, sealing: self.Sealing.Public()}
	return &Pair{
		self:   self,
		local:  local,
		remote: &end{node: remote.Node, wireGuard: remote.WireGuard, sealing: remote.Sealing},
		order:  compareKeys(local.node, remote.Node),

		// Above all that a Pair before this one, of the same run, has used.
		lastOffered: uint64(time.Now().UnixNano()),
	}
}

// Lower says whether our node key is the lower one: its crossing offer
// stands, and its side leads where one side has to.
func (p *Pair) Lower() bool { return p.order < 0 }

// SetRemoteEpoch takes the peer's boot epoch from its presence and says
// whether the peer has started anew, in which case no session stands. An
// epoch that is not above all that were seen changes nothing.
func (p *Pair) SetRemoteEpoch(e Epoch) (changed bool) {
	if e <= p.remoteEpoch {
		return false
	}
	p.remoteEpoch = e
	p.lastAccepted, p.crossing = 0, [32]byte{}
	p.offered, p.received, p.answered = nil, nil, nil
	p.seals, p.opens = nil, nil
	return true
}

// Offer starts a session. The message may be sent again, unchanged, until the
// answer comes. It fails only for content too long for MaxSealed.
func (p *Pair) Offer(content []byte) ([]byte, error) {
	to, err := p.remote.sealing.HPKE()
	if err != nil {
		return nil, err
	}
	fresh, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, err
	}
	s := &seal{
		session:   p.lastOffered + 1,
		fromEpoch: p.self.Epoch,
		toEpoch:   p.remoteEpoch,
		clock:     time.Now().Unix(),
		fresh:     fresh.PublicKey().Bytes(),
		content:   content,
	}
	msg, secret, err := p.outward().make(sealOffer, to, p.self.Node, s, nil)
	if err != nil {
		return nil, err
	}
	p.lastOffered = s.session
	p.offered = &offered{session: s.session, msg: msg, fresh: fresh, secret: secret}
	p.received = nil
	return msg, nil
}

// Answer answers the offer that Open returned last. preshared is the session's
// key for the tunnel; that the peer has it, too, is shown by the first frame of
// the session that opens. It fails when there is no offer, or for content too
// long.
func (p *Pair) Answer(content []byte) (msg []byte, preshared config.PresharedKey, err error) {
	r := p.received
	if r == nil {
		return nil, preshared, errors.New("answer: there is no offer to answer")
	}
	bind := sha256.Sum256(r.msg)
	s := &seal{
		session: r.seal.session, fromEpoch: p.self.Epoch, toEpoch: r.seal.fromEpoch,
		clock: time.Now().Unix(), content: content,
	}
	msg, secret, err := p.outward().make(sealAnswer, r.fresh, p.self.Node, s, bind[:])
	if err != nil {
		return nil, preshared, err
	}
	keys := sessionKeys(p.inward(), r.msg, msg, r.secret, secret)
	f := newFrames(s.session, keys.answerer, keys.offerer)
	if p.seals == nil {
		p.seals = f
	}
	p.add(f)
	p.answered = &answered{offer: bind, msg: msg}
	p.received = nil
	return msg, keys.preshared, nil
}

// Seal seals a message of the standing session. It fails before there is one.
func (p *Pair) Seal(content []byte) ([]byte, error) {
	if p.seals == nil {
		return nil, errNoSession
	}
	if len(content) > MaxSealed-frameHeader-16 {
		return nil, errors.New("sealed message: content too long")
	}
	return p.seals.seal(content), nil
}

// Repeats says whether an offer is one that was opened just before, as it came by
// another way: to open it again costs no more than a hash.
func (p *Pair) Repeats(msg []byte) bool {
	return p.repeated(sha256.Sum256(msg)) != nil
}

// repeated is the reply to an offer that was opened before; nil: it was not, or
// there is none.
func (p *Pair) repeated(offer [32]byte) []byte {
	switch {
	case p.answered != nil && p.answered.offer == offer:
		return p.answered.msg
	case p.offered != nil && p.crossing == offer:
		return p.offered.msg
	}
	return nil
}

// Open takes a sealed message. An error means that there is nothing to do but
// to count it, and to send Reply if there is one: whoever carries messages can
// make any number of bad ones.
func (p *Pair) Open(msg []byte) (Event, error) {
	if len(msg) == 0 || len(msg) > MaxSealed {
		return Event{}, errSeal
	}
	switch msg[0] {
	case sealOffer:
		return p.openOffer(msg)
	case sealAnswer:
		return p.openAnswer(msg)
	case sealFrame:
		return p.openFrame(msg)
	case sealEpoch:
		return p.openEpoch(msg)
	}
	return Event{}, errVersion
}

func (p *Pair) openOffer(msg []byte) (Event, error) {
	hash := sha256.Sum256(msg)
	if reply := p.repeated(hash); reply != nil {
		return Event{Reply: reply}, nil
	}
	s, secret, err := p.inward().open(sealOffer, p.self.Sealing.HPKE(), msg, nil)
	if err != nil {
		return Event{}, err
	}
	fresh, err := hpke.MLKEM768X25519().NewPublicKey(s.fresh)
	if err != nil {
		return Event{}, errFormat
	}
	if s.toEpoch != p.self.Epoch {
		return Event{Reply: p.epochNotice()}, errOld
	}
	if s.fromEpoch < p.remoteEpoch {
		return Event{}, errOld
	}
	p.SetRemoteEpoch(s.fromEpoch)
	if s.session <= p.lastAccepted {
		return Event{}, errOld
	}
	if p.offered != nil && p.Lower() {
		p.crossing = hash
		return Event{Reply: p.offered.msg}, nil
	}
	p.lastAccepted = s.session
	p.offered = nil
	p.received = &received{seal: s, msg: msg, fresh: fresh, secret: secret}
	return Event{Kind: EventOffer, Content: s.content, At: time.Unix(s.clock, 0)}, nil
}

func (p *Pair) openAnswer(msg []byte) (Event, error) {
	o := p.offered
	if o == nil {
		return Event{}, errNoSession
	}
	bind := sha256.Sum256(o.msg)
	s, secret, err := p.inward().open(sealAnswer, o.fresh, msg, bind[:])
	if err != nil {
		return Event{}, err
	}
	if s.session != o.session || s.toEpoch != p.self.Epoch || s.fromEpoch != p.remoteEpoch {
		return Event{}, errOld
	}
	keys := sessionKeys(p.outward(), o.msg, msg, o.secret, secret)
	p.seals = newFrames(s.session, keys.offerer, keys.answerer)
	p.add(p.seals)
	p.offered, p.answered = nil, nil
	return Event{Kind: EventAnswer, Content: s.content, At: time.Unix(s.clock, 0), Preshared: keys.preshared}, nil
}

// add takes a session that has just been made.
func (p *Pair) add(f *frames) {
	p.opens = append(p.opens, f)
	if len(p.opens) > maxOpens {
		i := slices.IndexFunc(p.opens, func(f *frames) bool { return f != p.seals })
		p.opens = slices.Delete(p.opens, i, i+1)
	}
}

func (p *Pair) openFrame(msg []byte) (Event, error) {
	if p.seals == nil {
		return Event{}, errNoSession
	}
	refusal := errOld
	for i, f := range slices.Backward(p.opens) {
		switch content, err := f.open(msg); {
		case err == nil:
			newest := i == len(p.opens)-1
			if i > slices.Index(p.opens, p.seals) {
				p.seals = f
			}
			if newest {
				p.opens = []*frames{f} // the peer uses it: so those before are over
			}
			return Event{Kind: EventMessage, Content: content, Newest: newest}, nil
		case errors.Is(err, errReplay):
			return Event{}, err
		case errors.Is(err, errSeal): // or of another that has the number: each side numbers its own
			refusal = err
		}
	}
	return Event{}, refusal
}

// epochNotice tells the peer the epoch it should have named. It is shorter
// than any offer, so it amplifies nothing.
func (p *Pair) epochNotice() []byte {
	return EpochNotice(p.self)
}

func (p *Pair) openEpoch(msg []byte) (Event, error) {
	if len(msg) != 1+8+signatureSize {
		return Event{}, errFormat
	}
	epoch, ok := OpenEpochNotice(p.self.Network, p.remote.node, msg)
	if !ok {
		return Event{}, ErrSignature
	}
	if !p.SetRemoteEpoch(epoch) {
		return Event{}, errOld
	}
	return Event{Kind: EventStale}, nil
}

func (p *Pair) outward() ends { return ends{network: p.self.Network, from: p.local, to: p.remote} }
func (p *Pair) inward() ends  { return ends{network: p.self.Network, from: p.remote, to: p.local} }

func compareKeys(a, b config.NodeKey) int { return slices.Compare(a[:], b[:]) }
