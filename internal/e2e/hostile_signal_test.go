package e2e

import (
	"crypto/hpke"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// altersSignals: what nodes have sealed is told to others than it was for, by
// others than it is from, altered and cut short.
func (l *hostileLab) altersSignals(t *testing.T) {
	a, b, c := l.key(l.a).Public(), l.key(l.b).Public(), l.key(l.c).Public()
	for _, n := range []*Node{l.a, l.b} {
		seat, before := l.seat(n), l.counted(n, "sealed message")
		forged := 0
		tell := func(from config.NodeKey, sealed []byte) {
			seat.tell(&signaling.Signal{From: from, To: seat.node, Sealed: sealed})
			forged++
		}
		for _, s := range slices.Concat(l.evil.sent(a, b), l.evil.sent(b, a), l.evil.sent(c, a), l.evil.sent(c, b)) {
			from := s.From
			if from == seat.node {
				from = s.To // back to who sent it
			}
			other := c
			if from == c {
				other = a
				if seat.node == a {
					other = b
				}
			}
			tell(other, s.Sealed)
			if signaling.IsOffer(s.Sealed) { // so that enough are looked at in time: few offers are
				continue
			}
			for _, i := range []int{0, len(s.Sealed) / 2, len(s.Sealed) - 1} {
				bad := slices.Clone(s.Sealed)
				bad[i] ^= 0x80
				tell(from, bad)
			}
			tell(from, s.Sealed[:rand.IntN(len(s.Sealed))])
			tell(from, nil)
		}
		if forged < 20 {
			t.Fatalf("only %d signals to forge", forged)
		}
		l.warned(t, n, "sealed message", before+3)
	}
}

// reseals: of two colluding machines one opens the offer that it got, and seals
// it for the third as if it came from the first, signature and all.
func (l *hostileLab) reseals(t *testing.T) {
	x, y := l.a, l.b // x has made an offer to y
	if l.offer(l.a, l.b) == nil {
		x, y = l.b, l.a
	}
	offer := l.offer(x, y)
	if offer == nil {
		t.Fatal("there was no offer")
	}
	var key config.SealingPrivateKey
	if err := key.SetSeed(l.disk(y).SealingKey); err != nil {
		t.Fatal(err)
	}
	from, to, victim := l.key(x).Public(), l.key(y).Public(), l.key(l.c).Public()
	info := func(to config.NodeKey) []byte {
		id := l.network.Public().ID()
		return slices.Concat([]byte("p2ptun/v1/offer\x00"), id[:], from[:], to[:])
	}
	const enc = 1120
	r := must(hpke.NewRecipient(offer[1:1+enc], key.HPKE(), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info(to)))
	plain := must(r.Open(nil, offer[1+enc:])) // or this test is wrong
	rec := l.record(l.c)
	fresh, sender, err := hpke.NewSender(must(rec.Sealing.HPKE()), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info(victim))
	if err != nil {
		t.Fatal(err)
	}
	sealed := slices.Concat(offer[:1], fresh, must(sender.Seal(nil, plain)))

	before := l.counted(l.c, "sealed message")
	l.seat(l.c).tell(&signaling.Signal{From: from, To: victim, Sealed: sealed})
	l.warned(t, l.c, "sealed message", before+1)
	if n := count(l.c.Log(), "sealed message refused", "signature is not valid"); n == 0 {
		t.Error("it was not refused for its signature")
	}
}

func (l *hostileLab) offer(from, to *Node) []byte {
	for _, s := range l.evil.sent(l.key(from).Public(), l.key(to).Public()) {
		if signaling.IsOffer(s.Sealed) {
			return s.Sealed
		}
	}
	return nil
}

// replays: all that was ever sealed is told again, after one of the machines
// has started anew. What the machines say to that is kept from them, but not
// what they have to say to each other.
func (l *hostileLab) replays(t *testing.T) {
	before := [2]uint64{l.counted(l.a, "stale sealed message"), l.counted(l.b, "stale sealed message")}
	old := l.pathOf(t, l.a, l.b)
	a, b := l.key(l.a).Public(), l.key(l.b).Public()
	all := slices.Concat(l.evil.sent(a, b), l.evil.sent(b, a))
	for range 2 {
		for _, s := range all {
			seat := l.seat(l.a)
			if s.To == b {
				seat = l.seat(l.b)
			}
			seat.tell(s)
		}
	}
	for i, n := range []*Node{l.a, l.b} {
		l.until(t, seconds(5), n.Name+" counts what is stale", func() bool { return l.counted(n, "stale sealed message") > before[i] })
	}
	if now := l.pathOf(t, l.a, l.b); now != old {
		t.Errorf("path %q, before %q", now, old)
	}
}

// pathOf names the path to a peer.
func (l *hostileLab) pathOf(t *testing.T, from, to *Node) string {
	t.Helper()
	p, err := from.Peer(l.ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	return string(p.Path) + " " + p.Local.Address + " " + p.Remote.Address
}

// disorders: two machines find each other while each message between them comes
// late, thrice, out of order, and once cut short.
func (l *hostileLab) disorders(t *testing.T) {
	l.evil.hostile(func(s *seat, up bool, m signaling.Message) []signaling.Message {
		signal, ok := m.(*signaling.Signal)
		if !ok || up {
			return []signaling.Message{m}
		}
		for i := range 4 {
			copied := *signal
			if i == 0 {
				copied.Sealed = copied.Sealed[:len(copied.Sealed)-1]
			}
			time.AfterFunc(time.Duration(rand.IntN(100))*time.Millisecond, func() { s.tell(&copied) })
		}
		return nil
	})
	defer l.evil.hostile(nil)
	l.restart(t, l.b)
	start := time.Now()
	if err := l.b.FirstPing(l.ctx, l.addr(l.a)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > seconds(10) {
		t.Errorf("connected after %v", took)
	}
}

// restart has a machine start anew.
func (l *hostileLab) restart(t *testing.T, n *Node) {
	t.Helper()
	if _, err := n.Run(l.ctx, "down"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Up(l.ctx); err != nil {
		t.Fatal(err)
	}
}
