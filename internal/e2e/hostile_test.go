package e2e

import "testing"

// TestHostileHub: a hub that turned against its nodes can delay and drop, and
// nothing else. See hostileHub.
func TestHostileHub(t *testing.T) {
	l := newHostileLab(t)
	l.attack("injects members", l.injects)
	l.attack("says no", l.refuses)
	l.attack("forges presence", l.forgesPresence)
	l.attack("alters signals", l.altersSignals)
	l.attack("seals an offer again", l.reseals)
	l.attack("repeats", l.replays)
	l.t.Run("disorders", l.disorders)
	l.attack("repeats after a restart", l.replays)
	l.t.Run("hides a member", l.hides)
	l.t.Run("withholds a revocation", l.withholds)
	l.t.Run("withholds it and what nodes tell of it", l.withholdsAll)
}
