package tunnel

import (
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
)

// passLab is three nodes of which the second hears both others; what members tell
// it, or it them, is kept.
type passLab struct {
	*gossipLab
	told map[string][][]byte // by "from to"
}

func newPassLab(t *testing.T) *passLab {
	l := &passLab{newGossipLab(t, "a", "b", "c"), map[string][][]byte{}}
	for from, n := range l.nodes {
		for to, m := range n.peers {
			tell := m.tell
			m.tell = func(note []byte) {
				l.told[from+" "+to] = append(l.told[from+" "+to], note)
				tell(note)
			}
		}
	}
	now := time.Now()
	l.nodes["a"].peers["b"].heard, l.nodes["b"].peers["a"].heard = now, now
	l.nodes["c"].peers["b"].heard, l.nodes["b"].peers["c"].heard = now, now
	return l
}

func (l *passLab) key(name string) config.NodeKey { return l.nodes[name].self.Node.Public() }

// idle makes one node have no session with another, and says what comes to it.
func (l *passLab) idle(at, of string) *member {
	m := l.nodes[at].peers[of].member
	m.active = nil
	delete(l.nodes[at].active, l.key(of))
	return m
}

// A message goes through one peer that hears both, with its sender's name, and no
// further; by each two ways.
func TestPassed(t *testing.T) {
	l := newPassLab(t)
	c := l.idle("c", "a")
	l.idle("a", "c")
	sealed := []byte{3, 1, 2, 3} // no offer: it wakes nobody
	l.nodes["a"].ask(errand{l.key("c"), sealed})
	l.settle()
	a, fromA := l.key("a"), slices.Concat([]byte{notePass}, keyBytes(l.key("c")), sealed)
	if got := l.told["a b"]; len(got) != 2 || !slices.Equal(got[0], fromA) || !slices.Equal(got[1], fromA) {
		t.Fatalf("a asks %x, want %x", got, fromA)
	}
	if got, want := l.told["b c"], slices.Concat([]byte{notePassed}, a[:], sealed); len(got) != 2 || !slices.Equal(got[0], want) || !slices.Equal(got[1], want) {
		t.Errorf("b tells c %x, want %x", got, want)
	}
	if !c.ways.through(time.Now(), l.key("b")) || c.ways.through(time.Now(), l.key("a")) {
		t.Error("c does not know by whom it came")
	}
	if len(l.told["c b"])+len(l.told["c a"])+len(l.told["b a"])+len(l.told["a c"]) > 0 {
		t.Errorf("more was said: %x", l.told)
	}
	// By whom the member spoke, it is asked first.
	l.nodes["c"].ask(errand{a, sealed})
	l.settle()
	if len(l.told["c b"]) != 2 || len(l.told["b a"]) != 2 {
		t.Errorf("the answer did not go back: %x", l.told)
	}
}

func keyBytes(k config.NodeKey) []byte { return k[:] }

// Nothing is passed on to whom the peer does not hear, to itself, to strangers, or
// for one who is no member any more; and nothing is said about it.
func TestNotPassed(t *testing.T) {
	for what, do := range map[string]func(l *passLab){
		"not heard":   func(l *passLab) { l.nodes["b"].peers["c"].heard = time.Time{} },
		"idle":        func(l *passLab) { l.idle("b", "c") },
		"no member":   func(l *passLab) { delete(l.nodes["b"].members, l.key("c")) },
		"sender gone": func(l *passLab) { delete(l.nodes["b"].members, l.key("a")) },
	} {
		l := newPassLab(t)
		do(l)
		l.nodes["a"].ask(errand{l.key("c"), []byte{1, 2}})
		l.settle()
		if len(l.told["a b"]) != 2 || len(l.told["b c"])+len(l.told["b a"]) != 0 {
			t.Errorf("%s: %x", what, l.told)
		}
	}
	l := newPassLab(t)
	for _, bad := range [][]byte{{notePass}, append([]byte{notePass}, make([]byte, 31)...), slices.Concat([]byte{notePass}, keyBytes(l.key("c"))), {notePassed, 1}} {
		l.nodes["b"].told(l.nodes["b"].peers["a"], bad)
	}
	own := slices.Concat([]byte{notePassed}, keyBytes(l.key("a")), []byte{1, 2})
	l.nodes["b"].told(l.nodes["b"].peers["a"], own) // in its own name
	stranger := slices.Concat([]byte{notePassed}, make([]byte, 32), []byte{1, 2})
	l.nodes["b"].told(l.nodes["b"].peers["a"], stranger)
	l.settle()
	if len(l.told) != 0 || l.nodes["b"].refuse["note of a member"] != 4 || l.nodes["b"].refuse["message passed on"] != 2 {
		t.Errorf("%x, refused %v", l.told, l.nodes["b"].refuse)
	}
}

// A member cannot have others pass on without end, nor wake all that are idle.
func TestPassLimits(t *testing.T) {
	l := newPassLab(t)
	note := slices.Concat([]byte{notePass}, keyBytes(l.key("c")), make([]byte, peer.MaxNote/2))
	for i := range 1000 {
		l.nodes["b"].told(l.nodes["b"].peers["a"], slices.Concat(note, []byte{byte(i >> 8), byte(i)}))
	}
	if got := len(l.told["b c"]) / 2 * len(note); got > passBurst+passRate { // each goes two ways
		t.Errorf("%d bytes passed on at once", got)
	}
	l.nodes["c"].peers["b"].limits = newLimits()
	l.idle("c", "a")
	before := l.nodes["c"].refuse["message passed on"]
	for range introduces + 5 {
		l.nodes["c"].told(l.nodes["c"].peers["b"], slices.Concat([]byte{notePassed}, keyBytes(l.key("a")), []byte{3}))
	}
	if got := l.nodes["c"].refuse["message passed on"] - before; got != 5 {
		t.Errorf("%d refused, want 5", got)
	}
	for range 10 * askBurst {
		l.nodes["a"].ask(errand{l.key("c"), []byte{1}})
	}
	if got := len(l.told["a b"]); got > 2*(askBurst+askRate) {
		t.Errorf("asked %d times at once", got)
	}
}
