package tunnel

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/time/rate"
)

// What admins have signed also goes from node to node, inside the sealed
// sessions: a hub that holds a revocation back, or shows each another list,
// gains nothing. At the begin of a session both tell their digest; where they
// differ both tell what they have, and send what the other lacks:
//
//	1 ‖ digest (32)
//	2 ‖ first (8) ‖ last (8) ‖ hashes (8 each)     all that the sender has from first to last
//	3 ‖ statements (2+n each)
//	4 ‖ sessionless (1)                            not of statements: see refused.go
//	5, 6                                           see handover.go
//	7                                              see idle.go
//	8                                              see neighbours.go
//	9, 10                                          see mutual.go
//
// What is new and no record, thus rare and urgent, is told to some others at
// once. Nothing waits for any of it.
const (
	noteDigest     = 1
	noteHave       = 2
	noteStatements = 3
	noteInitiate   = 4
	noteKeep       = 5
	noteKept       = 6
	noteLeave      = 7
	noteNeighbour  = 8
	notePass       = 9
	notePassed     = 10
)

const (
	spreadTo = 8 // others that new revocations and the like are told to

	compareEvery = 10 * time.Second // with one member, at most

	gossipWait    = time.Second // after a change, doubling
	gossipMaxWait = time.Minute

	// What one member can make this node verify, and send.
	verifyRate  = 20 // statements per second
	verifyBurst = 2000

	// How often one member can make this node look for what it lacks.
	supplyRate  = 1  // notes per second
	supplyBurst = 40 // of 1,500 statements each
)

// limits are those of one member.
type limits struct {
	verify *rate.Limiter // of statements that it sends
	supply *rate.Limiter // of statements that it is sent, as it says that it lacks them
	asks   *rate.Limiter // of its saying so
	passLimits
}

func newLimits() limits {
	return limits{rate.NewLimiter(verifyRate, verifyBurst), rate.NewLimiter(verifyRate, verifyBurst), rate.NewLimiter(supplyRate, supplyBurst), newPassLimits()}
}

type hashPrefix [8]byte

// told takes a note of a member.
func (n *Node) told(m *active, note []byte) {
	in := cryptobyte.String(note)
	var kind uint8
	ok := in.ReadUint8(&kind)
	switch kind {
	case noteDigest:
		n.compare(m, in)
	case noteHave:
		ok = n.supply(m, in)
	case noteStatements:
		ok = n.learnFrom(m, in)
	case noteInitiate:
		var sessionless uint8
		if ok = in.ReadUint8(&sessionless); ok {
			m.initiate(sessionless != 0)
		}
	case noteKeep:
		ok = n.takeOver(m, in)
	case noteKept:
		ok = n.handedOver(m, in)
	case noteLeave:
		n.leaves(m)
	case noteNeighbour:
		var rest uint8
		if ok = in.ReadUint8(&rest); ok {
			n.isKept(m, rest)
		}
	case notePass:
		ok = n.pass(m, in)
	case notePassed:
		ok = n.passed(m, in)
	}
	if !ok {
		n.refused("note of a member", errNote)
	}
}

var errNote = errors.New("it is not well formed")

// tellDigest begins a comparison.
func (n *Node) tellDigest(m *active) {
	m.tell(append([]byte{noteDigest}, n.roster.Digest()...))
}

// compare tells a member whose digest differs what we have.
func (n *Node) compare(m *active, digest []byte) {
	if bytes.Equal(digest, n.roster.Digest()) || time.Since(m.compared) < compareEvery {
		return
	}
	m.compared = time.Now()
	var have []hashPrefix
	for _, s := range n.roster.Statements() {
		hash := s.Hash()
		have = append(have, hashPrefix(hash[:]))
	}
	slices.SortFunc(have, func(a, b hashPrefix) int { return bytes.Compare(a[:], b[:]) })
	first := hashPrefix{}
	for {
		page := have[:min(len(have), (peer.MaxNote-17)/len(first))]
		have = have[len(page):]
		last := hashPrefix(bytes.Repeat([]byte{0xff}, len(first)))
		if len(have) > 0 {
			last = page[len(page)-1]
		}
		note := slices.Concat([]byte{noteHave}, first[:], last[:])
		for _, h := range page {
			note = append(note, h[:]...)
		}
		m.tell(note)
		if len(have) == 0 {
			return
		}
		first = last // twice, which does no harm
	}
}

// supply sends a member what it lacks of a range.
func (n *Node) supply(m *active, in cryptobyte.String) bool {
	var first, last hashPrefix
	if !in.CopyBytes(first[:]) || !in.CopyBytes(last[:]) || len(in)%len(first) != 0 {
		return false
	}
	now := time.Now()
	if !m.asks.AllowN(now, 1) {
		n.refused("note of a member", errors.New("it asks too often"))
		return true
	}
	has := make(map[hashPrefix]bool)
	for h := range slices.Chunk([]byte(in), len(first)) {
		has[hashPrefix(h)] = true
	}
	var lacks [][]byte
	for _, s := range n.roster.Statements() {
		hash := s.Hash()
		h := hashPrefix(hash[:])
		if !has[h] && bytes.Compare(first[:], h[:]) <= 0 && bytes.Compare(h[:], last[:]) <= 0 {
			lacks = append(lacks, s.Bytes())
		}
	}
	lacks = lacks[:min(len(lacks), int(m.supply.TokensAt(now)))] // the rest another time
	m.supply.AllowN(now, len(lacks))
	tellStatements(m, lacks)
	return true
}

// tellStatements sends them in notes that they fit.
func tellStatements(m *active, statements [][]byte) {
	note := []byte{noteStatements}
	for _, s := range statements {
		if len(note)+2+len(s) > peer.MaxNote {
			m.tell(note)
			note = []byte{noteStatements}
		}
		note = append(append(note, byte(len(s)>>8), byte(len(s))), s...)
	}
	if len(note) > 1 {
		m.tell(note)
	}
}

// learnFrom takes the statements that a member sent.
func (n *Node) learnFrom(m *active, in cryptobyte.String) bool {
	var statements [][]byte
	for !in.Empty() {
		var s cryptobyte.String
		if !in.ReadUint16LengthPrefixed(&s) {
			return false
		}
		if !n.roster.Has(sha256.Sum256(s)) {
			statements = append(statements, s)
		}
	}
	if !m.verify.AllowN(time.Now(), len(statements)) {
		n.refused("statements of a member", errors.New("too many at once"))
		return true
	}
	n.learn(statements, false)
	return true
}

// spread passes on what is new: to the hub, unless it comes from there, and
// what throws somebody out or makes an admin to some members as well. Those
// pass it on in turn, so it reaches all in a few steps.
func (n *Node) spread(taken []*signaling.Statement, fromHub bool) {
	var all, urgent [][]byte
	for _, s := range taken {
		all = append(all, s.Bytes())
		if s.Record() == nil {
			urgent = append(urgent, s.Bytes())
		}
	}
	if !fromHub {
		n.tellHub(all)
	}
	if len(urgent) == 0 {
		return
	}
	for _, m := range n.hearers() {
		for range 2 { // by the path, and by the hub
			tellStatements(m, urgent)
		}
	}
}

// maxPush bounds what is pushed at once: statements times members.
const maxPush = 5000

// pushRecords tells the members that are active what this machine has just
// signed, where that is not too much: they need not wait for the hub.
func (n *Node) pushRecords(statements [][]byte) {
	if len(statements)*len(n.active) > maxPush {
		return
	}
	for _, m := range n.someMembers(len(n.active)) {
		tellStatements(m, statements)
	}
}

// someMembers chooses at random from those who may hear, those first who have been
// heard. The hub's word for who is online is not needed: it could hide them.
func (n *Node) someMembers(count int) []*active {
	var some []*active
	for _, m := range n.active {
		if m.online || !m.heard.IsZero() {
			some = append(some, m)
		}
	}
	rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	slices.SortStableFunc(some, func(a, b *active) int {
		switch {
		case a.heard.IsZero() == b.heard.IsZero():
			return 0
		case b.heard.IsZero():
			return -1
		}
		return 1
	})
	return some[:min(len(some), count)]
}

// hearers are the neighbours, through which it reaches all, and some others.
func (n *Node) hearers() []*active {
	some := n.someMembers(spreadTo)
	for _, a := range n.active {
		if a.idle.neighbour() && !slices.Contains(some, a) {
			some = append(some, a)
		}
	}
	return some
}

// gossip compares with a member now and then: a hub that loses what is told just
// when it matters, or hides a member for good, gains no more than the wait.
// After a change the first comparison is soon.
func (n *Node) gossip(now time.Time) {
	if now.Before(n.sync.gossip) {
		return
	}
	n.sync.wait = min(max(2*n.sync.wait, gossipWait), gossipMaxWait)
	n.sync.gossip = now.Add(n.sync.wait)
	for _, m := range n.someMembers(1) {
		n.tellDigest(m)
	}
}

// sendByHub sends a sealed message through the hub, if there is a connection.
func (n *Node) sendByHub(to config.NodeKey, sealed []byte) bool {
	if _, joining := n.byJoin.Load(to); joining {
		return n.hub.Send(&signaling.Join{To: to, Sealed: signaling.JoinSignal(sealed)})
	}
	return n.hub.Send(&signaling.Signal{To: to, Sealed: sealed})
}
