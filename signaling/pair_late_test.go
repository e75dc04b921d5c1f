package signaling

import "testing"

// An offer that the peer has given up and that comes late, or is held back by
// the hub until then, starts a session at one side only. What the two share
// stays in use until the peer shows that it has the new one as well.
func TestPairLateOffer(t *testing.T) {
	low, high := newTestPairs(t)
	late := must2(t)(high.Offer([]byte("given up"))) // crosses the next, and yields to it
	establish(t, low, high)
	talk := func(what string) {
		t.Helper()
		if ev := open(t, high, must2(t)(low.Seal([]byte(what))), EventMessage, what); !ev.Newest {
			t.Error("high takes it for a frame of an earlier session")
		}
		open(t, low, must2(t)(high.Seal([]byte(what))), EventMessage, what)
	}
	talk("before")

	open(t, low, late, EventOffer, "given up")
	lost := answer(t, low, "answer that nobody waits for")
	refused(t, high, lost)
	talk("after")
	if ev := open(t, low, must2(t)(high.Seal([]byte("x"))), EventMessage, "x"); ev.Newest {
		t.Error("a frame of the standing session proves the new one")
	}

	// A real one takes over as ever, whichever side hears of it first.
	fromLow := takeOver(t, low, high)
	talk("at last")
	refused(t, high, fromLow)
}

// takeOver has a session that high offers take the place of the one that stands, while
// low says something in that one, which is returned.
func takeOver(t *testing.T, low, high *Pair) (fromLow []byte) {
	t.Helper()
	open(t, low, must2(t)(high.Offer([]byte("next"))), EventOffer, "next")
	msg := answer(t, low, "yes")
	fromLow = must2(t)(low.Seal([]byte("on its way")))
	open(t, high, msg, EventAnswer, "yes")
	open(t, high, fromLow, EventMessage, "on its way")
	if ev := open(t, low, must2(t)(high.Seal([]byte("new"))), EventMessage, "new"); !ev.Newest {
		t.Error("the first frame of the new session does not prove it")
	}
	return fromLow
}

// Each side numbers the sessions that it offers by itself: two may have one number.
func TestPairSameNumbers(t *testing.T) {
	low, high := newTestPairs(t)
	low.lastOffered, high.lastOffered = 7, 7
	establish(t, low, high)
	takeOver(t, low, high)
}

// Of sessions that are made one after the other, before anything is said in them, each
// side may use another: what either says is understood.
func TestPairSilentSessions(t *testing.T) {
	low, high := newTestPairs(t)
	establish(t, low, high)
	sides := []*Pair{low, high}
	for i := range 4 * maxOpens {
		by := i / (maxOpens - 1) % 2
		from, to := sides[by], sides[1-by]
		open(t, to, must2(t)(from.Offer([]byte("offer"))), EventOffer, "offer")
		open(t, from, answer(t, to, "answer"), EventAnswer, "answer")
		if len(low.opens) > maxOpens || len(high.opens) > maxOpens {
			t.Fatalf("%d and %d sessions are open", len(low.opens), len(high.opens))
		}
		// What is said may be lost, so that nobody knows more for it.
		for i, to := range sides {
			seals, opens := to.seals, to.opens
			open(t, to, must2(t)(sides[1-i].Seal([]byte("x"))), EventMessage, "x")
			to.seals, to.opens = seals, opens
		}
	}
}
