package peer

import (
	"fmt"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestPatience(t *testing.T) {
	for _, tt := range []struct {
		rtt          time.Duration
		loss         float64
		try, suspect time.Duration
	}{
		{0, 0, 150 * ms, 300 * ms},
		{40 * ms, 0, 150 * ms, 300 * ms},
		{200 * ms, 0, 300 * ms, 600 * ms},
		{time.Minute, 0, 3 * time.Second, 6 * time.Second},
		{40 * ms, unlikely, 150 * ms, 300 * ms},
		{40 * ms, 0.04, 150 * ms, 400 * ms},
		{40 * ms, 0.1, 150 * ms, 500 * ms},
		{40 * ms, 0.5, 150 * ms, 1100 * ms},
		{40 * ms, 1, 150 * ms, 1400 * ms},
	} {
		if p := patienceOf(tt.rtt, tt.loss); p != (patience{tt.try, tt.suspect}) {
			t.Errorf("round trip %v, loss %v: %+v, want %v and %v", tt.rtt, tt.loss, p, tt.try, tt.suspect)
		}
	}
}

// trialStep is something that a trial is told, and what it says then. Times are in
// milliseconds.
type trialStep struct {
	at   int
	do   func(t *trial, now time.Time) any
	want any
}

// The ways of a trial, step by step.
func TestTrial(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	p := patienceOf(40*ms, 0)
	waits := func(since int) func(*trial, time.Time) any {
		return func(t *trial, now time.Time) any { return t.waits(at(since), p, now) }
	}
	calm := func(t *trial, now time.Time) any { return t.waits(time.Time{}, p, now) }
	doubt := func(t *trial, now time.Time) any { t.doubt(now); return t.theirs }
	refuted := func(t *trial, now time.Time) any { return t.refuted(now) }
	tries := func(t *trial, now time.Time) any { return t.tries(now) }
	session := func(t *trial, now time.Time) any { return t.wantsSession(now) }
	under := func(began int) func(*trial, time.Time) any {
		return func(t *trial, now time.Time) any { t.under(at(began)); return nil }
	}
	proved := func(heard int, open bool) func(*trial, time.Time) any {
		return func(t *trial, now time.Time) any { return t.proved(at(heard), open, now) }
	}
	over := func(t *trial, now time.Time) any { *t = t.over(now); return t.since.IsZero() && t.suspect.IsZero() }
	state := func(t *trial, now time.Time) any {
		switch {
		case !t.suspect.IsZero() && t.theirs:
			return "theirs"
		case !t.suspect.IsZero():
			return "suspect"
		case !t.since.IsZero():
			return "tried"
		}
		return "calm"
	}
	for name, steps := range map[string][]trialStep{
		"tried, then suspect, once": {
			{149, waits(0), false}, {149, state, "calm"}, {150, waits(0), false}, {150, state, "tried"},
			{299, waits(0), false}, {300, waits(0), true}, {300, state, "suspect"}, {400, waits(0), false},
		},
		"tried at once, and each 100 ms, each second later": {
			{150, waits(0), false}, {150, tries, true}, {249, tries, false}, {250, tries, true}, {5200, tries, true},
			{5300, tries, false}, {6200, tries, true},
		},
		"heard in time": {
			{150, waits(0), false}, {160, proved(149, false), false}, {200, proved(180, true), true}, {200, over, true},
		},
		"others have yet to show": {
			{300, waits(0), true}, {400, proved(310, true), false}, {400, session, false},
			{500, proved(310, false), true}, {500, over, true},
		},
		"others never do": {{300, waits(0), true}, {400, proved(310, true), false}, {3399, proved(310, true), false}, {3400, proved(310, true), true}},
		"sessions, further and further apart": {
			{200, session, false}, {300, waits(0), true}, {300, session, true}, {1299, session, false}, {1300, session, true},
			{3299, session, false}, {3300, session, true}, {7300, session, true}, {15300, session, true}, {25299, session, false},
			{25300, session, true},
		},
		"one that has begun is waited for": {
			{300, waits(0), true}, {300, under(250), nil}, {300, session, false}, {1249, session, false}, {1250, session, true},
		},
		"sessions of the trial before count": {
			{300, waits(0), true}, {300, session, true}, {400, over, true}, {800, waits(500), true}, {800, session, false}, {1300, session, true}, {3299, session, false}, {3300, session, true},
		},
		"but not for ever": {
			{300, waits(0), true}, {300, session, true}, {1300, session, true}, {33300, over, true}, {33800, waits(33500), true},
			{33800, session, true}, {34800, session, true},
		},
		"the peer's doubt makes no session": {
			{0, doubt, true}, {0, state, "theirs"}, {0, session, false}, {0, tries, true},
		},
		"ours weighs more than the peer's": {
			{0, doubt, true}, {300, waits(0), true}, {300, state, "suspect"}, {300, doubt, false}, {300, session, true},
		},
		"refuted at once": {{0, refuted, true}, {0, state, "suspect"}, {10, refuted, false}, {10, session, true}},
		"given up where nothing waits": {
			{300, waits(0), true}, {400, calm, false}, {10299, calm, false}, {10299, state, "suspect"}, {10300, calm, false}, {10300, state, "calm"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var x trial
			for i, s := range steps {
				if got := s.do(&x, at(s.at)); got != s.want {
					t.Fatalf("step %d, at %d ms: %v, want %v (%+v)", i, s.at, got, s.want, x)
				}
			}
		})
	}
}

// When a trial has to be looked at again, by what is the case.
func TestTrialIsLookedAt(t *testing.T) {
	start := time.Unix(1000, 0)
	p := patienceOf(40*ms, 0)
	var x trial
	check := func(what string, since time.Time, want time.Duration) {
		t.Helper()
		if got := x.at(since, p); want < 0 && !got.IsZero() || want >= 0 && got.Sub(start) != want {
			t.Errorf("%s: at %v, want %v", what, got.Sub(start), want)
		}
	}
	check("calm", time.Time{}, -1)
	check("data waits", start, 150*ms)
	x.waits(start, p, start.Add(150*ms))
	x.tries(start.Add(150 * ms))
	check("tried", start, 250*ms)
	x.tries(start.Add(280 * ms))
	check("about to be suspect", start, 300*ms)
	x.waits(start, p, start.Add(300*ms))
	check("suspect", start, 380*ms)
	x.wantsSession(start.Add(300 * ms))
	x.tries(start.Add(6 * time.Second)) // long ago: seldom
	check("the next session", start, 1300*ms)
}

func TestDoubts(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	d := make(doubts)
	one, two := Path{Remote: testRemote}, Path{Local: testLocal.Addr(), Remote: testRemote}
	d.add(one, at(0))
	if !d.avoid(one) || d.avoid(two) {
		t.Errorf("%v, want the one avoided and not the other", d)
	}
	for _, tt := range []struct {
		at      int
		flowing bool
		on      int
		next    int
	}{
		{0, true, 0, 2000}, {1999, true, 0, 2000}, {2000, true, 1, 2500}, {2499, true, 1, 2500}, {2500, true, 0, 4000},
		{4000, false, 0, 12000}, {12000, false, 1, 12500}, {14000, true, 1, 14500},
		{62000, true, 1, 62500}, {64100, true, 0, 72000},
	} {
		d.sees(one, at(tt.at))
		on, next := d.retry(at(tt.at), tt.flowing)
		if len(on) != tt.on || !next.Equal(at(tt.next)) {
			t.Errorf("at %d: %d on trial, next at %v; want %d, %d", tt.at, len(on), next.Sub(start), tt.on, tt.next)
		}
	}
	if d.carried(one, at(62000)) || d.carried(two, at(70000)) {
		t.Error("a doubt ends for what was heard before it was tried, or by another")
	}
	if !d.carried(one, at(62001)) || d.avoid(one) {
		t.Error("the doubt does not end")
	}
	d.add(one, at(0))
	for i := range 2 * maxDoubts {
		d.add(Path{Relay: new(Relay), Remote: testRemote}, at(i))
		d.sees(one, at(i))
	}
	if len(d) != maxDoubts || !d.avoid(one) {
		t.Errorf("%d doubts, want %d, with that which was seen last", len(d), maxDoubts)
	}
	gone := at(2 * maxDoubts).Add(seenFor)
	d.sees(one, gone)
	if on, _ := d.retry(gone.Add(retryLater), true); len(on) != 1 || on[0] != one {
		t.Errorf("%v on trial, want only what answers", on)
	}
	if d.retry(gone.Add(forgetFor-1), true); len(d) != 1 || !d.avoid(one) {
		t.Errorf("%d doubts are left, want that which was seen", len(d))
	}
	if _, next := d.retry(gone.Add(forgetFor), true); len(d) != 0 || !next.IsZero() {
		t.Errorf("%d doubts are left, and looked at at %v", len(d), next)
	}
}

func TestUnheard(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	var u unheard
	is := func(want ...int) {
		t.Helper()
		var list []int
		for _, x := range u {
			list = append(list, int(x.Unix()))
		}
		if fmt.Sprint(list) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", list, want)
		}
	}
	if !u.since().IsZero() {
		t.Error("something is unheard before anything left")
	}
	for _, s := range []int{3, 3, 2, 5, 7} {
		u.left(at(s))
	}
	is(3, 5, 7)
	u.heard(at(2))
	is(3, 5, 7)
	u.heard(at(5))
	is(7)
	if u.since() != at(7) {
		t.Errorf("since %v", u.since())
	}
	u.heard(at(9))
	is()
	for i := range 2 * maxUnheard {
		u.left(at(10 + i))
	}
	if len(u) != maxUnheard || u.since() != at(10) {
		t.Errorf("%d noted since %v, want the first %d", len(u), u.since(), maxUnheard)
	}
}

func TestQuality(t *testing.T) {
	start := time.Unix(1000, 0)
	var q quality
	check := func(i int, answer bool) {
		now := start.Add(time.Duration(i) * 100 * ms)
		q.left(now)
		if answer {
			q.answered(now.Add(40*ms), 40*ms)
		}
	}
	for i := range 50 {
		check(i, true)
	}
	if q.loss != 0 || q.rtt != 40*ms || q.cost() != 40*ms || !q.unanswered().IsZero() {
		t.Errorf("loss %v, round trip %v, cost %v of a way that loses nothing", q.loss, q.rtt, q.cost())
	}
	for i := range 400 {
		check(100+i, i%3 != 0)
	}
	if q.loss < 0.25 || q.loss > 0.42 || q.cost() < 90*ms || q.cost() > 210*ms {
		t.Errorf("loss %v, cost %v of a way that loses a third", q.loss, q.cost())
	}
	before := q.loss
	for i := range 100 { // it is gone for 10 s
		check(600+i, false)
	}
	if len(q.open) != maxOpen || q.loss != before {
		t.Errorf("%d checks are remembered, loss %v, want %d and %v", len(q.open), q.loss, maxOpen, before)
	}
	if now := start.Add(70 * time.Second); !q.fails(now) {
		t.Error("it does not fail")
	}
	check(800, true)
	if q.fails(start.Add(81*time.Second)) || q.loss > before+2*lossWeight || len(q.open) != 0 {
		t.Errorf("loss %v after an answer, %d open", q.loss, len(q.open))
	}
	q.answered(start, 0)
	if q.cost() > 100*ms {
		t.Errorf("cost %v, want that of the shortest of late", q.cost())
	}
}
