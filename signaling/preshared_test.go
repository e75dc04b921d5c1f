package signaling

import (
	"bytes"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// session makes one and returns what either side has for the tunnel.
func session(t *testing.T, a, b *Pair) (offerer, answerer config.PresharedKey) {
	t.Helper()
	open(t, b, must2(t)(a.Offer([]byte("o"))), EventOffer, "o")
	msg, answerer, err := b.Answer([]byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	return open(t, a, msg, EventAnswer, "a").Preshared, answerer
}

func TestPresharedKey(t *testing.T) {
	a, b := newTestPairs(t)
	var seen []config.PresharedKey
	for range 3 {
		one, other := session(t, a, b)
		if one.IsZero() || !one.Equal(other) {
			t.Fatal("the two sides have not the same key")
		}
		for _, k := range seen {
			if one.Equal(k) {
				t.Error("two sessions have one key")
			}
		}
		seen = append(seen, one)
		a, b = b, a // either may offer
	}
	if ev := open(t, b, must2(t)(a.Offer(nil)), EventOffer, ""); !ev.Preshared.IsZero() {
		t.Error("an offer alone gives a key")
	}
}

// TestSessionKeys changes each of the things that the keys are made of.
func TestSessionKeys(t *testing.T) {
	a, b := newTestPairs(t)
	derive := func(e ends, inputs ...string) []byte {
		s := sessionKeys(e, []byte(inputs[0]), []byte(inputs[1]), []byte(inputs[2]), []byte(inputs[3]))
		psk := s.preshared.Seed()
		if bytes.Equal(psk, s.offerer) || bytes.Equal(psk, s.answerer) || bytes.Equal(s.offerer, s.answerer) {
			t.Error("two keys of one session are the same")
		}
		return psk
	}
	want := derive(a.outward(), "offer", "answer", "s1", "s2")
	if !bytes.Equal(derive(b.inward(), "offer", "answer", "s1", "s2"), want) {
		t.Error("the answerer derives another key")
	}
	other := a.outward()
	other.to = &end{node: other.to.node, wireGuard: config.WireGuardKey{1}, sealing: other.to.sealing}
	for name, got := range map[string][]byte{
		"offer":         derive(a.outward(), "Offer", "answer", "s1", "s2"),
		"answer":        derive(a.outward(), "offer", "Answer", "s1", "s2"),
		"offer secret":  derive(a.outward(), "offer", "answer", "S1", "s2"),
		"answer secret": derive(a.outward(), "offer", "answer", "s1", "S2"),
		"role":          derive(b.outward(), "offer", "answer", "s1", "s2"),
		"WireGuard key": derive(other, "offer", "answer", "s1", "s2"),
	} {
		if bytes.Equal(got, want) {
			t.Errorf("another %s gives the same key", name)
		}
	}
}

// The sender's clock comes with offer and answer, under its signature.
func TestSealClock(t *testing.T) {
	a, b := newTestPairs(t)
	check := func(ev Event) {
		t.Helper()
		if d := time.Since(ev.At); d < -time.Second || d > time.Minute {
			t.Errorf("the clock shows %v", ev.At)
		}
	}
	check(open(t, b, must2(t)(a.Offer(nil)), EventOffer, ""))
	check(open(t, a, answer(t, b, ""), EventAnswer, ""))

	s := &seal{session: 1, fromEpoch: 2, toEpoch: 3, clock: -5, content: []byte("c")}
	before := a.outward().signedBody(sealAnswer, s, nil, nil)
	s.clock++
	if bytes.Equal(before, a.outward().signedBody(sealAnswer, s, nil, nil)) {
		t.Error("the signature does not cover the clock")
	}
	key := b.self.Sealing.Public()
	to, err := key.HPKE()
	if err != nil {
		t.Fatal(err)
	}
	msg, _, err := a.outward().make(sealAnswer, to, a.self.Node, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := b.inward().open(sealAnswer, b.self.Sealing.HPKE(), msg, nil)
	if err != nil || got.clock != -4 || string(got.content) != "c" {
		t.Errorf("came back as %+v, %v", got, err)
	}
}
