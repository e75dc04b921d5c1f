package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// TestHostileHub: a hub that turned against its nodes can delay and drop, and
// nothing else. See hostileHub.
func TestHostileHub(t *testing.T) {
	t.Parallel()
	l := newHostileLab(t)
	l.attack("injects members", l.injects)
	l.attack("says no", l.refuses)
	l.attack("forges presence", l.forgesPresence)
	l.attack("alters signals", l.altersSignals)
	// Their first offer came with the join; the next is a signal, where b does not know
	// where a was.
	l.must(l.b, "down")
	if err := os.Remove(filepath.Join(l.b.State(), "peers.json")); err != nil {
		t.Fatal(err)
	}
	l.up(l.b)
	l.until(t, seconds(5), "an offer", func() bool { return l.offer(l.a, l.b) != nil || l.offer(l.b, l.a) != nil })
	l.reach(l.a, l.addr(l.b))
	l.attack("seals an offer again", l.reseals)
	l.attack("repeats", l.replays)
	l.t.Run("disorders", l.disorders)
	l.attack("repeats after a restart", l.replays)
	l.attack("downgrades", l.downgrades)
	l.attack("takes a hello to another hub", l.relaysHello)
}

// TestHostileHubWithholds: what it keeps from nodes they tell each other.
func TestHostileHubWithholds(t *testing.T) {
	t.Parallel()
	l := newHostileLab(t)
	l.t.Run("hides a member", l.hides)
	l.t.Run("withholds a revocation", l.withholds)
	l.t.Run("withholds it and all that nodes tell each other", l.withholdsAll)
}

// TestHostileMember: a member that was admitted like any other gets no further.
func TestHostileMember(t *testing.T) {
	t.Parallel()
	l := newMemberLab(t)
	l.attack("takes a name", l.takesName)
	l.attack("makes statements", l.rules)
	l.attack("babbles", l.babbles)
	l.attack("points at a bystander", l.points)
	l.attack("floods", l.flood)
	flows := []*flow{l.ping(t, l.a, l.b), l.ping(t, l.b, l.a)}
	t.Run("rules as a delegate", l.delegate)
	for _, f := range flows {
		f.end(t)
	}
}
