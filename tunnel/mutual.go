package tunnel

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/time/rate"
)

// A mutual peer passes on what two members have to say to each other while they
// have no way of their own:
//
//	this node                     mutual peer                    the member
//	 ── 9 ‖ member ‖ sealed ──────► ── 10 ‖ this node ‖ sealed ──────►
//
// It does so for members alone, who say so in a session that only they can have,
// to members that it hears itself, and no further: what came with 10 is passed on
// by nobody. It says nothing back, so that nobody learns from it who is connected
// to whom. Whoever gets it takes it as it takes the hub's: for what the seal says.
const (
	maxAsked = 3 // mutual peers for one message

	// What this node asks of others, in messages.
	askRate  = 20
	askBurst = 60

	// What one member can have this node pass on, in bytes, and how many idle
	// members it can wake here in the name of others.
	passRate      = 64 << 10
	passBurst     = 256 << 10
	introduceRate = 1
	introduces    = 10
)

// errand is a sealed message that others are to pass on.
type errand struct {
	to     config.NodeKey
	sealed []byte
}

// ask has mutual peers pass a message on: those first by which the member has
// spoken lately, then neighbours, whose tunnels are kept, then any.
func (n *Node) ask(p errand) {
	now := time.Now()
	m := n.members[p.to]
	if m == nil || 1+len(p.to)+len(p.sealed) > peer.MaxNote || !n.asking.AllowN(now, 1) {
		return
	}
	var some []*active
	for _, a := range n.active {
		if a.member != m && now.Sub(a.heard) < lively {
			some = append(some, a)
		}
	}
	rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	rank := func(a *active) int {
		switch {
		case m.whereabouts().through(now, a.record.Node):
			return 0
		case a.idle.neighbour():
			return 1
		}
		return 2
	}
	slices.SortStableFunc(some, func(a, b *active) int { return cmp.Compare(rank(a), rank(b)) })
	note := slices.Concat([]byte{notePass}, p.to[:], p.sealed)
	for _, a := range some[:min(len(some), maxAsked)] {
		a.tellTwice(note)
	}
}

// tellTwice tells by the path, and by the hub: that either has just ended, nobody may
// know yet.
func (a *active) tellTwice(note []byte) {
	for range 2 {
		a.tell(note)
	}
}

// pass passes on what a member asks for, if it can.
func (n *Node) pass(from *active, in cryptobyte.String) bool {
	var to config.NodeKey
	if !in.CopyBytes(to[:]) || in.Empty() || len(in) > signaling.MaxSealed {
		return false
	}
	now := time.Now()
	m := n.members[to]
	switch {
	case n.members[from.record.Node] != from.member:
		n.refused("message to pass on", errors.New("its sender is no member any more"))
	case !from.passes.AllowN(now, len(in)):
		n.refused("message to pass on", errors.New("too many"))
	case m == nil || m == from.member || m.active == nil || now.Sub(m.active.heard) >= lively:
		// Whoever asked asks others as well.
	case !m.whereabouts().once(now, signaling.DatagramID(in), netip.AddrPort{}):
		// It came twice.
	default:
		m.active.tellTwice(slices.Concat([]byte{notePassed}, from.record.Node[:], in))
	}
	return true
}

// passed takes what a mutual peer has passed on.
func (n *Node) passed(by *active, in cryptobyte.String) bool {
	var from config.NodeKey
	if !in.CopyBytes(from[:]) || in.Empty() || len(in) > signaling.MaxSealed {
		return false
	}
	now := time.Now()
	m := n.members[from]
	switch {
	case m == nil:
		n.refused("message passed on", errors.New("its sender is no member"))
	case m == by.member || !by.brings.AllowN(now, len(in)) || m.active == nil && !by.introduces.AllowN(now, 1):
		n.refused("message passed on", errors.New("too many"))
	default:
		m.whereabouts().cameVia(now, by.record.Node)
		n.take(m, slices.Clone(in))
	}
	return true
}

// passLimits are what a member can have this node do for others.
type passLimits struct{ passes, brings, introduces *rate.Limiter }

func newPassLimits() passLimits {
	return passLimits{rate.NewLimiter(passRate, passBurst), rate.NewLimiter(passRate, passBurst), rate.NewLimiter(introduceRate, introduces)}
}
