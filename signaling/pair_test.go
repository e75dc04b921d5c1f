package signaling

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// testNode is a member of testNetwork with all its keys.
type testNode struct {
	self   *Self
	record *SignedRecord
}

var testNetwork = func() config.NetworkPrivateKey {
	var k config.NetworkPrivateKey
	if err := k.SetSeed(bytes.Repeat([]byte{7}, 32)); err != nil {
		panic(err)
	}
	return k
}()

func newTestNode(t testing.TB, name string, host byte) *testNode {
	t.Helper()
	node, wg, seal := config.NewNodeKey(), config.NewWireGuardKey(), config.NewSealingKey()
	rec, err := NetworkAdmin(testNetwork).Record(Record{
		Node: node.Public(), Sequence: 1, Name: name, IPv4: netip.AddrFrom4([4]byte{10, 77, 0, host}),
		WireGuard: wg.Public(), Sealing: seal.Public(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &testNode{
		self:   &Self{Network: testNetwork.Public().ID(), Node: node, Sealing: seal, WireGuard: wg.Public(), Epoch: Epoch(host)},
		record: rec,
	}
}

// newTestPairs returns the two sides of one pair; the first has the lower key.
func newTestPairs(t testing.TB) (a, b *Pair) {
	t.Helper()
	x, y := newTestNode(t, "a", 1), newTestNode(t, "b", 2)
	a, b = NewPair(x.self, &y.record.Record), NewPair(y.self, &x.record.Record)
	a.SetRemoteEpoch(y.self.Epoch)
	b.SetRemoteEpoch(x.self.Epoch)
	if !a.Lower() {
		a, b = b, a
	}
	return a, b
}

func must(t testing.TB, msg []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func open(t testing.TB, p *Pair, msg []byte, kind EventKind, content string) Event {
	t.Helper()
	ev, err := p.Open(msg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if ev.Kind != kind || string(ev.Content) != content {
		t.Fatalf("event %d %q, want %d %q", ev.Kind, ev.Content, kind, content)
	}
	return ev
}

func refused(t testing.TB, p *Pair, msg []byte) {
	t.Helper()
	if ev, err := p.Open(msg); err == nil {
		t.Fatalf("opened as %d %q, want an error", ev.Kind, ev.Content)
	}
}

func establish(t testing.TB, a, b *Pair) {
	t.Helper()
	open(t, b, must2(t)(a.Offer([]byte("offer"))), EventOffer, "offer")
	open(t, a, answer(t, b, "answer"), EventAnswer, "answer")
}

func answer(t testing.TB, p *Pair, content string) []byte {
	t.Helper()
	msg, _, err := p.Answer([]byte(content))
	return must(t, msg, err)
}

func must2(t testing.TB) func([]byte, error) []byte {
	return func(msg []byte, err error) []byte { return must(t, msg, err) }
}

func TestPairSession(t *testing.T) {
	a, b := newTestPairs(t)
	if _, err := a.Seal([]byte("early")); err == nil {
		t.Error("sealed a frame before there was a session")
	}
	establish(t, a, b)
	one := must2(t)(a.Seal([]byte("one")))
	two := must2(t)(a.Seal([]byte("two")))
	open(t, b, two, EventMessage, "two")
	open(t, b, one, EventMessage, "one")
	refused(t, b, one) // a repeat
	refused(t, a, two) // reflected to its sender
	open(t, a, must2(t)(b.Seal([]byte("back"))), EventMessage, "back")
	two[len(two)-1] ^= 1
	refused(t, b, two)
}

func TestPairRepeatedOfferGetsTheSameAnswer(t *testing.T) {
	a, b := newTestPairs(t)
	offer := must2(t)(a.Offer([]byte("o")))
	open(t, b, offer, EventOffer, "o")
	sealed := answer(t, b, "a")
	if ev := open(t, b, offer, EventNone, ""); !bytes.Equal(ev.Reply, sealed) {
		t.Error("the repeated offer did not get the stored answer")
	}
	open(t, a, sealed, EventAnswer, "a")
	refused(t, a, sealed)
}

func TestPairCrossingOffers(t *testing.T) {
	low, high := newTestPairs(t)
	fromLow, fromHigh := must2(t)(low.Offer([]byte("low"))), must2(t)(high.Offer([]byte("high")))
	ev := open(t, low, fromHigh, EventNone, "")
	if !bytes.Equal(ev.Reply, fromLow) {
		t.Fatal("the lower key did not send its own offer again")
	}
	open(t, high, fromLow, EventOffer, "low")
	open(t, low, answer(t, high, "ok"), EventAnswer, "ok")
	open(t, high, must2(t)(low.Seal([]byte("frame"))), EventMessage, "frame")
}

func TestPairOldOffersStartNothing(t *testing.T) {
	a, b := newTestPairs(t)
	first := must2(t)(a.Offer([]byte("first")))
	open(t, b, must2(t)(a.Offer([]byte("second"))), EventOffer, "second")
	open(t, a, answer(t, b, ""), EventAnswer, "")
	refused(t, b, first)
}

func TestPairStaleEpoch(t *testing.T) {
	a, b := newTestPairs(t)
	old := must2(t)(a.Offer([]byte("to the earlier run")))

	// b starts anew; a does not know yet.
	again := *b.self
	again.Epoch = 99
	b2 := NewPair(&again, &Record{Node: a.local.node, WireGuard: a.local.wireGuard, Sealing: a.local.sealing})
	b2.SetRemoteEpoch(a.self.Epoch)
	ev, err := b2.Open(old)
	if !IsStale(err) {
		t.Fatalf("an offer to the earlier run: %v", err)
	}
	if len(ev.Reply) == 0 || len(ev.Reply) >= len(old) {
		t.Fatalf("reply of %d bytes to an offer of %d", len(ev.Reply), len(old))
	}
	open(t, a, ev.Reply, EventStale, "")
	refused(t, a, ev.Reply) // told once
	establish(t, a, b2)

	// Nothing of the run before counts any more.
	refused(t, a, must2(t)(b.Offer([]byte("from the grave"))))
	if a.SetRemoteEpoch(b.self.Epoch) {
		t.Error("went back to the earlier epoch")
	}
	ev.Reply[3] ^= 1
	refused(t, a, ev.Reply)
}

func TestPairRefusesOthers(t *testing.T) {
	a, b := newTestPairs(t)
	c := newTestNode(t, "c", 3)
	offer := must2(t)(a.Offer([]byte("for b")))

	t.Run("resealed", func(t *testing.T) {
		// b passes a's offer on to c, sealed to c's key.
		s, _, err := b.inward().open(sealOffer, b.self.Sealing.HPKE(), offer, nil)
		if err != nil {
			t.Fatal(err)
		}
		cKey, _ := c.record.Sealing.HPKE()
		toC := ends{network: a.self.Network, from: a.local, to: &end{c.record.Node, c.record.WireGuard, c.record.Sealing}}
		forged, _, err := toC.make(sealOffer, cKey, b.self.Node, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		pc := NewPair(c.self, &Record{Node: a.local.node, WireGuard: a.local.wireGuard, Sealing: a.local.sealing})
		refused(t, pc, forged)
	})
	t.Run("altered", func(t *testing.T) {
		for _, i := range []int{0, 1, 100, encSize + 1, len(offer) - 1} {
			bad := bytes.Clone(offer)
			bad[i] ^= 0x10
			refused(t, b, bad)
		}
		for _, n := range []int{0, 1, encSize, len(offer) - 1} {
			refused(t, b, offer[:n])
		}
	})
	t.Run("other network", func(t *testing.T) {
		self := *b.self
		self.Network = config.ID{1}
		refused(t, NewPair(&self, &Record{Node: a.local.node, WireGuard: a.local.wireGuard, Sealing: a.local.sealing}), offer)
	})
	open(t, b, offer, EventOffer, "for b") // and the honest one still works
}

func FuzzPairOpen(f *testing.F) {
	a, b := newTestPairs(f)
	offer, _ := a.Offer([]byte("o"))
	b.Open(offer)
	answer, _, _ := b.Answer([]byte("a"))
	a.Open(answer)
	frame, _ := a.Seal([]byte("f"))
	for _, m := range [][]byte{offer, answer, frame, a.epochNotice()} {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if ev, err := b.Open(bytes.Clone(msg)); err == nil && ev.Kind == EventMessage && !bytes.Equal(msg, frame) {
			t.Errorf("opened a frame that nobody sealed: %x", msg)
		}
	})
}

// A hub that repeats what the peer said in an earlier run, which this side has
// never heard of, changes nothing.
func TestPairEarlierEpoch(t *testing.T) {
	a, b := newTestPairs(t)
	now := b.self.Epoch
	a.remoteEpoch, b.self.Epoch = 0, NewEpoch(7)
	later := b.self.Epoch
	if !a.SetRemoteEpoch(later) || a.SetRemoteEpoch(now) || a.SetRemoteEpoch(NewEpoch(6)) {
		t.Error("an earlier epoch counted")
	}
	establish(t, a, b)
	if NewEpoch(8) <= NewEpoch(7) {
		t.Error("epochs do not grow with the starts")
	}
}

// A Pair that is made anew in the same run, as for a newer record, goes on
// where the one before it was.
func TestPairMadeAnew(t *testing.T) {
	a, b := newTestPairs(t)
	for range 5 {
		establish(t, a, b)
	}
	again := NewPair(a.self, &Record{Node: b.local.node, WireGuard: b.local.wireGuard, Sealing: b.local.sealing})
	again.SetRemoteEpoch(b.self.Epoch)
	establish(t, again, b)
}
