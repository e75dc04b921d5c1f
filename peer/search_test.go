package peer

import (
	"slices"
	"testing"
	"time"
)

// network is a path as a search sees it, in virtual time.
type network struct {
	local, mtu int                    // the interface's and the path's, bytes of IP packet
	overhead   int                    // headers below what counts
	rtt        time.Duration          //
	lose       func(n, size int) bool // of the n-th probe, counted from 0; nil: none
	late       time.Duration          // later than rtt says
	first      int                    // the first probe
	now        time.Time              //
	flight     []answer               // on their way
	sent       int                    // probes
	history    []int                  // sizes in use, each once
	search     *search                //
	large      bool                   // bulk is sent
}

type answer struct {
	at   time.Time
	size int
}

// start begins a search. Its time 0 is arbitrary but not zero.
func (n *network) start(hint int) *network {
	if n.overhead == 0 {
		n.overhead = ipv4Headers
	}
	if n.local == 0 {
		n.local = 1500
	}
	if n.rtt == 0 {
		n.rtt = 20 * time.Millisecond
	}
	n.now = time.Unix(1000, 0)
	n.search = newSearch(n.overhead, 9000, hint)
	n.note()
	return n
}

func (n *network) note() {
	if size := n.search.size(); len(n.history) == 0 || n.history[len(n.history)-1] != size {
		n.history = append(n.history, size)
	}
}

// run lets d pass.
func (n *network) run(d time.Duration) *network {
	end := n.now.Add(d)
	for {
		n.probe()
		next := n.search.at()
		if n.large && n.search.large == false {
			next = sooner(next, n.now.Add(10*time.Millisecond)) // the next large packet
		}
		if len(n.flight) > 0 {
			next = sooner(next, n.flight[0].at)
		}
		if next.IsZero() || next.After(end) {
			n.now = end
			return n
		}
		n.now = later(n.now, next)
		for len(n.flight) > 0 && !n.flight[0].at.After(n.now) {
			n.search.answered(n.flight[0].size, n.now)
			n.flight = n.flight[1:]
			n.note()
		}
	}
}

// probe sends what is due, as peer's loop does.
func (n *network) probe() {
	for {
		sizes := n.search.next(n.now, n.rtt, n.large)
		refused := false
		for _, size := range sizes {
			number := n.sent
			n.sent++
			if n.first == 0 {
				n.first = size
			}
			switch link := size + n.overhead; {
			case link > n.local:
				n.search.tooBig(size)
				refused = true
			case link <= n.mtu && (n.lose == nil || !n.lose(number, size)):
				n.flight = append(n.flight, answer{n.now.Add(n.rtt + n.late), size})
			}
		}
		n.note()
		if !refused {
			return
		}
	}
}

func TestSearch(t *testing.T) {
	tests := []struct {
		name     string
		net      network
		want     int           // link's MTU in use in the end
		by       time.Duration // when it is reached
		notBelow int           // no size in use was lower; 0: BasePayload
	}{
		{"ethernet", network{mtu: 1500}, 1500, 50 * time.Millisecond, 0},
		{"ethernet over IPv6", network{mtu: 1500, overhead: ipv6Headers}, 1500, 50 * time.Millisecond, 0},
		{"relayed", network{mtu: 1500, overhead: ipv4Headers + relayedHeader}, 1500, 50 * time.Millisecond, 0},
		{"PPPoE", network{mtu: 1492}, 1492, 4 * time.Second, 0},
		{"odd", network{mtu: 1454}, 1452, 4 * time.Second, 0},
		{"jumbo", network{local: 9000, mtu: 9000}, 9000, 50 * time.Millisecond, 0},
		{"jumbo here alone", network{local: 9000, mtu: 1500}, 1500, 700 * time.Millisecond, 0},
		{"jumbo in between", network{local: 9000, mtu: 4470}, 4352, 3 * time.Second, 0},
		{"satellite", network{mtu: 1500, rtt: 600 * time.Millisecond}, 1500, 1300 * time.Millisecond, 0},
		{"slower than known", network{mtu: 1500, late: 800 * time.Millisecond}, 1500, 4 * time.Second, 0},
		{"narrow", network{mtu: 1280}, 1280, 700 * time.Millisecond, 1280},
		{"narrow over IPv6", network{mtu: 1280, overhead: ipv6Headers}, 1280, 700 * time.Millisecond, 1280},
		{"narrow here", network{local: 1280, mtu: 1280}, 1280, 50 * time.Millisecond, 1280},
		{"narrower", network{mtu: 1100}, 1004, 4 * time.Second, 1004},
		{"narrowest", network{mtu: 576}, 576, 4 * time.Second, 576},
		{"base alone", network{mtu: 1340}, 1340, 4 * time.Second, 0},
		{"every second lost", network{mtu: 1500, lose: func(n, _ int) bool { return n%2 == 0 }}, 1500, 700 * time.Millisecond, 1280},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := tt.net
			n.start(0).run(tt.by)
			if n.first != BasePayload {
				t.Errorf("first probe of %d, want the base", n.first)
			}
			if got := n.search.size() + n.overhead; got != tt.want {
				t.Errorf("after %v: link of %d, want %d; in use were %v", tt.by, got, tt.want, n.history)
			}
			n.run(time.Minute)
			if got := n.search.size() + n.overhead; got != tt.want {
				t.Errorf("later: link of %d, want %d", got, tt.want)
			}
			floor := BasePayload
			if tt.notBelow != 0 {
				floor = tt.notBelow - n.overhead
			}
			if low := slices.Min(n.history); low < floor {
				t.Errorf("in use were %v, want none below %d", n.history, floor)
			}
		})
	}
}

// Who answers nothing is sent the base, and few probes.
func TestSearchUnanswered(t *testing.T) {
	n := network{mtu: 0}
	n.start(0).run(time.Hour)
	if len(n.history) != 1 || n.history[0] != BasePayload {
		t.Errorf("in use were %v, want %d alone", n.history, BasePayload)
	}
	if n.sent > 300 {
		t.Errorf("%d probes in an hour", n.sent)
	}
}

// An idle path costs some probes in ten minutes, and none above those.
func TestSearchIdle(t *testing.T) {
	n := network{mtu: 1500}
	n.start(0).run(time.Hour)
	sent := 0
	n.lose = func(int, int) bool { sent++; return false }
	n.run(time.Hour)
	if sent > 0 {
		t.Errorf("%d probes left this machine in an hour, want none: its link carries no more", sent)
	}
}

// Bulk is confirmed once a second, and single losses change nothing.
func TestSearchConfirms(t *testing.T) {
	n := network{mtu: 1500}
	n.start(0).run(time.Second)
	n.large, n.sent = true, 0
	n.run(10 * time.Second)
	if n.sent < 9 || n.sent > 12 {
		t.Errorf("%d probes in 10 s, want one each second", n.sent)
	}
	before := len(n.history)
	n.lose = func(i, size int) bool { return i%3 != 2 } // two in three
	n.run(time.Minute)
	if len(n.history) != before {
		t.Errorf("in use were %v after lost probes", n.history[before-1:])
	}
}

// A path that narrows is noticed at once, and it is known by then what passes.
func TestSearchBlackHole(t *testing.T) {
	for _, tt := range []struct{ mtu, least int }{{1300, 1280}, {1400, 1340}} {
		for phase := range 10 {
			n := network{mtu: 1500}
			n.start(0).run(time.Second)
			n.large = true
			n.run(10*time.Second + time.Duration(phase)*100*time.Millisecond)
			n.mtu, n.history = tt.mtu, nil
			n.run(1700 * time.Millisecond)
			if got := n.search.size() + n.overhead; got < tt.least || got > tt.mtu {
				t.Errorf("path of %d: link of %d after 1.7 s; in use were %v", tt.mtu, got, n.history)
			}
			n.run(5 * time.Second)
			if got := n.search.size() + n.overhead; got != tt.mtu {
				t.Errorf("path of %d: link of %d in the end", tt.mtu, got)
			}
			if low := slices.Min(n.history) + n.overhead; low < tt.least {
				t.Errorf("path of %d: link of %d in use", tt.mtu, low)
			}
			n.mtu = 1500
			n.run(time.Minute)
			if got := n.search.size() + n.overhead; got != 1500 {
				t.Errorf("path wide again: link of %d", got)
			}
		}
	}
}

// Losses that looked like a small path are forgiven.
func TestSearchRaises(t *testing.T) {
	n := network{mtu: 1500, lose: func(i, _ int) bool { return i > 0 && i < 60 }}
	n.start(0).run(15 * time.Second)
	if got := n.search.size(); got >= 1472 {
		t.Fatalf("size %d is proved by nothing", got)
	}
	n.lose = nil
	if n.run(raiseWait); n.search.size() != 1472 {
		t.Errorf("size %d, want 1472", n.search.size())
	}
}

// A path that was used before begins with what it had, once that is confirmed.
func TestSearchHint(t *testing.T) {
	for _, mtu := range []int{1420, 1280} {
		n := network{mtu: mtu}
		n.start(mtu - ipv4Headers).run(30 * time.Millisecond)
		if want := []int{BasePayload, mtu - ipv4Headers}; !slices.Equal(n.history, want) {
			t.Errorf("in use were %v, want %v", n.history, want)
		}
		n.mtu = 1500
		n.run(time.Minute)
		if got := n.search.size() + n.overhead; got != 1500 {
			t.Errorf("it is wider now: link of %d, want 1500", got)
		}
	}
	m := network{mtu: 1400}
	m.start(1420 - ipv4Headers).run(5 * time.Second)
	if got := m.search.size() + m.overhead; got != 1400 {
		t.Errorf("it is narrower now: link of %d, want 1400", got)
	}
}

// While not even checks are answered, what is lost says nothing.
func TestSearchPause(t *testing.T) {
	n := network{mtu: 1500, large: true}
	n.start(0).run(2 * time.Second)
	n.mtu = 0
	n.run(2500 * time.Millisecond)
	n.search.pause()
	n.now, n.mtu, n.flight = n.now.Add(time.Hour), 1500, nil
	n.run(100 * time.Millisecond)
	if got := n.search.size() + n.overhead; got != 1500 {
		t.Errorf("link of %d after the pause, want 1500", got)
	}
}

// Probes are STUN messages, whose length is a multiple of 4.
func TestSearchSizes(t *testing.T) {
	for _, overhead := range []int{ipv4Headers, ipv6Headers, ipv4Headers + relayedHeader, ipv6Headers + relayedHeader} {
		s := newSearch(overhead, 9000, 0)
		if !slices.IsSorted(s.sizes) || s.sizes[s.base] != BasePayload || len(s.common) != len(common) {
			t.Errorf("overhead %d: sizes %v, base %d, common %v", overhead, s.sizes, s.base, s.common)
		}
		for _, size := range s.sizes {
			if size%4 != 0 {
				t.Errorf("overhead %d: size %d", overhead, size)
			}
		}
	}
}
