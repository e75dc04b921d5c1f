package tunnel

import (
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
)

// TestPresenceEvents: who came and went is kept of those that there was something
// with, and the hub's return says nothing until it has said who is there.
func TestPresenceEvents(t *testing.T) {
	now := time.Now()
	known, stranger := &member{before: before{events: new(peer.Events)}}, new(member)
	n := &Node{members: map[config.NodeKey]*member{{1}: known, {2}: stranger}}
	tell := func(at time.Duration) (all []string) {
		n.tellPresence(now.Add(at))
		for _, e := range known.events.List() {
			all = append(all, e.Text)
		}
		return all
	}
	const online, offline = "online, as the hub says", "offline, as the hub says"
	for _, step := range []struct {
		what string
		do   func()
		at   time.Duration
		want []string
	}{
		{"without the hub", func() { known.setOnline(1); stranger.setOnline(1) }, 0, nil},
		{"the hub has just come", func() { n.link = hubLink{up: true, since: now} }, hubSettles - 1, nil},
		{"it has said who is there", func() {}, hubSettles, []string{online}},
		{"nothing new", func() {}, time.Minute, []string{online}},
		{"the hub comes back, and has not said yet", func() { n.link.since = now.Add(2 * time.Minute); known.setOnline(0) }, 2*time.Minute + time.Second, []string{online}},
		{"it says that all is as it was", func() { known.setOnline(1) }, 3 * time.Minute, []string{online}},
		{"gone", func() { known.setOnline(0) }, 4 * time.Minute, []string{online, offline}},
		{"the hub is away", func() { known.setOnline(1); n.link.up = false }, 5 * time.Minute, []string{online, offline}},
	} {
		step.do()
		if got := tell(step.at); !slices.Equal(got, step.want) {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
	if stranger.events != nil {
		t.Error("events of a member that there was nothing with")
	}
}

// TestGone: since when a member is away.
func TestGone(t *testing.T) {
	m := new(member)
	m.setOnline(0)
	if !m.gone.IsZero() {
		t.Error("gone before it came")
	}
	m.setOnline(1)
	before := time.Now()
	m.setOnline(0)
	first := m.gone
	if first.Before(before) {
		t.Errorf("gone since %v, want now", first)
	}
	m.setOnline(0)
	if m.gone != first {
		t.Error("gone once more")
	}
}
