package tunnel

import (
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// newClockNode is a node whose state can be stored.
func newClockNode(t *testing.T) *gossiper {
	t.Helper()
	n := newGossipLab(t, "a").nodes["a"]
	hub := config.Hub{URLs: []string{"wss://192.0.2.1:443"}, Key: config.NewHubKey().Public()}
	var err error
	if n.node, err = PrepareJoin(config.Invite{Hub: hub, Network: n.node.Network}, "a"); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestConfirmedTime: a time that another member's clock agrees with is kept, and
// no earlier one is believed; one that it does not agree with changes nothing.
func TestConfirmedTime(t *testing.T) {
	n := newClockNode(t)
	now := time.Now()
	for _, off := range []time.Duration{2 * confirmWithin, -2 * confirmWithin} {
		n.confirm(config.NodeKey{1}, now.Add(off))
		if !n.node.Confirmed.IsZero() {
			t.Errorf("confirmed by a clock that is off by %v", off)
		}
	}
	n.node.Confirmed = now.Add(-24 * time.Hour) // as of late
	n.confirm(config.NodeKey{1}, now.Add(time.Minute))
	if n.node.Confirmed.Before(now) || n.node.Confirmed.After(time.Now()) {
		t.Errorf("confirmed %v, want our own time", n.node.Confirmed)
	}
	stored, err := n.cfg.Dir.LoadNode()
	if err != nil || !stored.Confirmed.Equal(n.node.Confirmed.Truncate(0)) {
		t.Errorf("stored: %v, %v", stored, err)
	}
	n.node.Confirmed = now.Add(time.Hour) // our clock went back since
	if got := n.now(); got.Before(n.node.Confirmed) {
		t.Errorf("it is %v, though it was %v", got, n.node.Confirmed)
	}
	before := n.node.Confirmed
	n.confirm(config.NodeKey{1}, now)
	if !n.node.Confirmed.Equal(before) {
		t.Error("a confirmed time went back")
	}
}

// TestBigStep: a machine whose clock is far ahead, by accident or by an attack,
// is not believed for one member's saying so.
func TestBigStep(t *testing.T) {
	n := newClockNode(t)
	now := time.Now()
	before := now.Add(-2 * bigStep)
	n.node.Confirmed = before
	for range 3 {
		n.confirm(config.NodeKey{1}, now)
	}
	if !n.node.Confirmed.Equal(before) {
		t.Fatal("one member was enough")
	}
	n.confirm(config.NodeKey{2}, now)
	if n.node.Confirmed.Equal(before) {
		t.Error("two members were not")
	}
}
