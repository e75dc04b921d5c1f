package tunnel

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

func port(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), uint16(i))
}

// The last addresses that worked are kept, each once, the newest first.
func TestWaysWorked(t *testing.T) {
	w := newWays(nil)
	if w.any() {
		t.Error("an address out of nothing")
	}
	for i, want := range []bool{true, true, false, true, true, true, true} {
		at := []int{1, 2, 2, 1, 3, 4, 5}[i]
		if w.worked(config.KnownAddress{Address: port(at)}) != want {
			t.Errorf("step %d: news: %v", i, !want)
		}
	}
	var got []uint16
	for _, g := range w.known() {
		got = append(got, g.Address.Port())
	}
	if want := []uint16{5, 4, 3, 1}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

// To an address that is not proved goes no more than came from there, and only
// for a while; to a proved one all.
func TestRepliesAreNoLarger(t *testing.T) {
	now, id := time.Now(), func(i int) signaling.MessageID { return signaling.MessageID{byte(i)} }
	w := newWays(nil)
	w.heard(now, arrival{by: claim{from: port(1)}, size: 3600})
	for i, tt := range []struct {
		size int
		want bool
	}{{3601, false}, {2400, true}, {1201, false}, {1200, true}, {1, false}} {
		if got := len(w.replies(now, id(i), tt.size, claim{})) > 0; got != tt.want {
			t.Errorf("step %d: %d bytes leave: %v", i, tt.size, got)
		}
	}
	w.heard(now, arrival{by: claim{from: port(1)}, size: 1200})
	if w.replies(now.Add(replyFor), id(10), 100, claim{}) != nil {
		t.Error("a reply long after")
	}
	w.heard(now, arrival{by: claim{from: port(2)}, size: 100, proved: true})
	if got := w.replies(now, id(11), 10_000, claim{}); !slices.Equal(got, []claim{{from: port(2)}}) {
		t.Errorf("%v get what only a proved address may", got)
	}
	if w.replies(now, id(11), 10_000, claim{}) != nil {
		t.Error("the same goes to the same twice")
	}
	if w.replies(now, id(12), 10_000, claim{from: port(2)}) != nil {
		t.Error("the path is a reply's as well")
	}
	for i := range 100 {
		w.heard(now, arrival{by: claim{from: port(100 + i)}, size: 1 << 20})
	}
	if len(w.came) != maxCame {
		t.Errorf("%d places are remembered", len(w.came))
	}
}

// What goes to addresses that may be another's by now is limited, and what a beacon
// said is tried a few times.
func TestGuessesAreFew(t *testing.T) {
	w := newWays([]config.KnownAddress{{Address: port(1)}, {Address: port(2)}})
	w.beacon(port(3))
	w.beacon(port(1)) // one that is known
	now, sent := time.Now(), map[netip.AddrPort]int{}
	for i := range 1000 {
		at := now.Add(time.Duration(i) * time.Second / 100)
		id := signaling.DatagramID(fmt.Append(nil, i))
		for _, a := range w.guesses(at, id, 3600, false) {
			sent[a] += 3600
		}
	}
	if total := sent[port(1)] + sent[port(2)] + sent[port(3)]; total > guessBurst+10*guessRate || total < 10*guessRate*9/10 {
		t.Errorf("%d bytes in 10 s", total)
	}
	if got := sent[port(3)] / 3600; got != lanTries {
		t.Errorf("%d messages for a beacon, want %d", got, lanTries)
	}
	id := signaling.MessageID{9}
	late := now.Add(time.Hour)
	if got := w.guesses(late, id, 100, false); len(got) != 2 {
		t.Errorf("tried %v, want both", got)
	}
	if got := w.guesses(late.Add(sameAfter/2), id, 100, false); got != nil {
		t.Errorf("the same goes to %v again at once", got)
	}
	if got := w.guesses(late.Add(sameAfter), id, 100, false); len(got) != 2 {
		t.Errorf("the same goes to %v after a while, want both", got)
	}
	near := netip.MustParseAddrPort("192.168.1.2:3")
	w.beacon(near)
	if got := w.guesses(late.Add(time.Minute), id, 100, true); len(got) != 1 || got[0] != near {
		t.Errorf("near is %v, want %v", got, near)
	}
}

// An offer that matters goes by every way when it was not answered in time, and
// one that was answered, or does not matter, never.
func TestOffersWiden(t *testing.T) {
	now, one, two := time.Now(), []byte{1, 1}, []byte{1, 2}
	w := newWays(nil)
	if w.offers(now, one, true) {
		t.Error("wide at once")
	}
	if sealed, waits := w.due(now.Add(widenAfter - 1)); sealed != nil || !waits {
		t.Error("wide too soon, or not waited for")
	}
	if sealed, _ := w.due(now.Add(widenAfter)); !slices.Equal(sealed, one) {
		t.Error("not wide in time")
	}
	if sealed, waits := w.due(now.Add(widenAfter)); sealed != nil || waits {
		t.Error("wide twice")
	}
	if !w.offers(now.Add(time.Second), one, false) {
		t.Error("what was sent again is not wide")
	}
	if w.offers(now.Add(time.Second), two, false) {
		t.Error("another offer is wide at once")
	}
	if sealed, waits := w.due(now.Add(time.Minute)); sealed != nil || waits || w.waiting() != nil {
		t.Error("what does not matter is wide")
	}
	w.offers(now, one, true)
	w.answered()
	if sealed, waits := w.due(now.Add(time.Minute)); sealed != nil || waits {
		t.Error("what was answered is wide")
	}
}
